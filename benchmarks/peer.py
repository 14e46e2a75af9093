"""The peer's worker (see worker.py): segmentation_models_pytorch, in an environment of its own, nothing of ours in it.

    {"ask": "start", "name": "a", "job": "train", "model": "resnet34", "size": 128, "batch": 16, "mode": "bfloat16",
     "layout": "channels_last", "compile": "reduce-overhead"}

A training step goes forward and back and updates the weights, on normalised float32 images that lie ready on the
device: it neither reads, places or augments tiles nor averages weights, so it does less than ours. Prediction takes
uint8 tiles in numpy arrays and returns probabilities in others, as ours does.
"""

import platform
import time
from collections.abc import Callable

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional as F

from benchmarks.worker import Block, serve

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
MEAN, STD, TILE = 0.4714, 0.1615, 101


def device() -> str:
    """The type of device that everything runs on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def network(model: str, layout: str) -> torch.nn.Module:
    """A U-Net with random weights."""
    net = smp.Unet(model, encoder_weights=None, in_channels=1, classes=1)
    return net.to(device(), memory_format=LAYOUTS[layout])


def compiled(net: torch.nn.Module, mode: str | None) -> Callable:
    """The network through torch.compile in one of its modes; None leaves it eager."""
    return torch.compile(net, mode=mode, dynamic=False) if mode else net


def repeated(step: Callable[[], object]) -> Block:
    """A block of steps, timed from an idle device to an idle device."""

    def block(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            step()
        if device() == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return block


def train(*, model: str, size: int, batch: int, mode: str, layout: str, compile: str | None = None) -> Block:
    """Steps of training; mode "bfloat16" is autocast."""
    net = network(model, layout).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    images = torch.randn(batch, 1, size, size, device=device()).to(memory_format=LAYOUTS[layout])
    masks = (torch.rand(batch, 1, size, size, device=device()) < 0.25).float()
    forward = compiled(net, compile)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device(), torch.bfloat16, enabled=mode == "bfloat16"):
            logits = forward(images)
        F.binary_cross_entropy_with_logits(logits.float(), masks).backward()
        optimizer.step()

    return repeated(step)


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
