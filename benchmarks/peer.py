"""The peer's worker (see worker.py): segmentation_models_pytorch, in an environment of its own, nothing of ours in it.

    {"ask": "start", "name": "a", "job": "train", "model": "resnet34", "size": 128, "batch": 16, "mode": "bfloat16",
     "layout": "channels_last", "compile": "reduce-overhead"}

A training step goes forward and back and updates the weights, on normalised float32 images that lie ready on the
device: it neither reads, places or augments tiles nor averages weights, so it does less than ours. With "same_work" it
does: from uint8 tiles in the host's memory, by PyTorch's own grid_sample and AveragedModel. Prediction takes uint8
tiles in numpy arrays and returns probabilities in others, as ours does.
"""

import platform
import time
from collections.abc import Callable

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.worker import Block, serve

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
ENCODERS = {"efficientnet_lite0": "timm-tf_efficientnet_lite0"}
MEAN, STD, TILE = 0.4714, 0.1615, 101


def device() -> str:
    """The type of device that everything runs on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def network(model: str, layout: str) -> torch.nn.Module:
    """A U-Net with random weights; "+scse" behind the encoder's name adds the decoder's attention."""
    encoder, _, attention = model.partition("+")
    encoder = ENCODERS.get(encoder, encoder)
    net = smp.Unet(encoder, encoder_weights=None, in_channels=1, classes=1, decoder_attention_type=attention or None)
    return net.to(device(), memory_format=LAYOUTS[layout])


def compiled(net: torch.nn.Module, mode: str | None) -> Callable:
    """The network through torch.compile in one of its modes; None leaves it eager."""
    return torch.compile(net, mode=mode, dynamic=False) if mode else net


def repeated(step: Callable[[], object]) -> Block:
    """A block of steps, timed from an idle device to an idle device; on a GPU one step more goes before.

    A GPU's memory is given back after each block, for those that run in turn with this one.
    """
    gpu = device() == "cuda"

    def block(steps: int) -> float:
        if gpu:
            step()
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        if gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        if gpu:
            torch.cuda.empty_cache()
        return seconds

    return block


def train(
    *, model: str, size: int, batch: int, mode: str, layout: str, compile: str | None = None, same_work: bool = False
) -> Block:
    """Steps of training; mode "bfloat16" is autocast."""
    net = network(model, layout).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    images = torch.randn(batch, 1, size, size, device=device()).to(memory_format=LAYOUTS[layout])
    masks = (torch.rand(batch, 1, size, size, device=device()) < 0.25).float()
    forward = compiled(net, compile)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=True) if same_work else None
    rng = np.random.default_rng(1)
    tiles = torch.from_numpy(rng.integers(0, 256, (batch, 1, TILE, TILE), np.uint8))
    truth = torch.from_numpy(rng.integers(0, 2, (batch, 1, TILE, TILE), np.uint8))

    def step() -> None:
        nonlocal images, masks
        if same_work:
            images, masks = augmented(tiles.to(device()), truth.to(device()), size)
            images = images.contiguous(memory_format=LAYOUTS[layout])
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device(), torch.bfloat16, enabled=mode == "bfloat16"):
            logits = forward(images)
        F.binary_cross_entropy_with_logits(logits.float(), masks).backward()
        optimizer.step()
        if average:
            average.update_parameters(net)

    return repeated(step)


def augmented(images: torch.Tensor, masks: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tiles uint8 (B, 1, 101, 101) placed at random as ours are (mirror, shift, rotation, scale), contrast, brightness.

    Float32 (B, 1, size, size) each, images normalised.
    """
    batch, side = len(images), device()

    def between(low: float, high: float) -> torch.Tensor:
        return torch.empty(batch, device=side).uniform_(low, high)

    turned = torch.randint(0, 2, (batch,), device=side)
    angle, scale = turned * between(-0.175, 0.175), torch.exp(turned * between(-0.182, 0.182)) * size / TILE
    mirror = 1.0 - 2.0 * torch.randint(0, 2, (batch,), device=side)
    row_x = torch.stack([angle.cos() * scale * mirror, -angle.sin() * scale * mirror, between(-0.25, 0.25)], 1)
    row_y = torch.stack([angle.sin() * scale, angle.cos() * scale, between(-0.25, 0.25)], 1)
    grid = F.affine_grid(torch.stack([row_x, row_y], 1), [batch, 1, size, size], align_corners=False)
    images = F.grid_sample((images / 255 - MEAN) / STD, grid, padding_mode="reflection", align_corners=False)
    masks = F.grid_sample(masks.float(), grid, mode="nearest", padding_mode="reflection", align_corners=False)
    contrast, brightness = between(0.85, 1.15), between(-0.1, 0.1) / STD
    return images * contrast[:, None, None, None] + brightness[:, None, None, None], masks


def infer(*, model: str, size: int, batch: int, mode: str, layout: str, compile: str | None = None) -> Block:
    """Predictions of a batch of tiles (cut to the input's size where that is less); the weights are of type `mode`."""
    dtype = getattr(torch, mode)
    forward = compiled(network(model, layout).eval().to(dtype), compile)
    side = min(TILE, size)
    first, rest = (size - side) // 2, size - side - (size - side) // 2
    tiles = np.random.default_rng(1).integers(0, 256, (batch, side, side), np.uint8)

    def step() -> np.ndarray:
        with torch.inference_mode():
            images = torch.from_numpy(tiles).to(device())[:, None]  # (B, 1, 101, 101)
            images = F.pad((images / 255 - MEAN) / STD, (first, rest, first, rest), mode="reflect")  # (B, 1, S, S)
            logits = forward(images.to(dtype, memory_format=LAYOUTS[layout]))
            inside = logits[:, 0, first : first + side, first : first + side]
            return torch.sigmoid(inside.float()).cpu().numpy()  # (B, 101, 101)

    return repeated(step)


def facts() -> dict:
    """Versions, and what the peer computes on."""
    return {
        "device": torch.cuda.get_device_name() if device() == "cuda" else "CPU",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "segmentation_models_pytorch": smp.__version__,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Serve both jobs, with all that makes PyTorch fast on a GPU switched on."""
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    serve({"train": train, "infer": infer}, facts)


if __name__ == "__main__":
    main()
