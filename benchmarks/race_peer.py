"""The peer's side of benchmarks.race: segmentation_models_pytorch trained as its users do, nothing of ours in it.

    python -m benchmarks.race_peer MATERIAL.npz CURVE.json '{"size": 64, "epochs": 6, "batch": 16, "seed": 1, ...}'

AdamW 1e-3 in one cycle, cross-entropy and Dice, mirroring and brightness; channels_last, bfloat16 by autocast where the
processor has it. Written after every epoch: seconds of training so far, and the validation tiles' masks, mirror image
averaged, threshold 0.5.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional as F

from benchmarks.peer import MEAN, STD, TILE


def network(model: str, weights: dict[str, np.ndarray]) -> torch.nn.Module:
    """A U-Net whose encoder has these weights, by their names in timm; ValueError where one of the encoder's lacks.

    The encoder is timm's own ("tu-"), which gives with these weights the features that they were trained for. The one
    of the same name that smp has rewritten ("timm-") pads alike on both sides and has another epsilon.
    """
    encoder, _, attention = model.partition("+")
    net = smp.Unet(f"tu-tf_{encoder}", encoder_weights=None, in_channels=1, classes=1,
                   decoder_attention_type=attention or None)  # fmt: skip
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    missing, unexpected = net.encoder.model.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.startswith(("conv_head", "bn2.")) and "num_batches" not in name]
    if missing or unexpected:
        raise ValueError(f"encoder weights do not fit: {missing[:3]} missing, {unexpected[:3]} unexpected")
    return net.to(memory_format=torch.channels_last)


def placed(tiles: torch.Tensor, size: int) -> torch.Tensor:
    """Tiles float32 (B, 1, 101, 101) in the network's input: reflected at the border, or shrunk."""
    if size < TILE:
        return F.interpolate(tiles, (size, size), mode="bilinear", align_corners=False)
    first = (size - TILE) // 2
    return F.pad(tiles, (first, size - TILE - first) * 2, mode="reflect")


def to_tiles(values: torch.Tensor, size: int) -> torch.Tensor:
    """What the network says, (B, 1, size, size), on the tile: (B, 101, 101)."""
    if size < TILE:
        return F.interpolate(values, (TILE, TILE), mode="bilinear", align_corners=False)[:, 0]
    first = (size - TILE) // 2
    return values[:, 0, first : first + TILE, first : first + TILE]


def predict(net: torch.nn.Module, images: torch.Tensor, size: int, *, bfloat16: bool) -> np.ndarray:
    """Masks bool (N, 101, 101) of tiles uint8 (N, 1, 101, 101)."""
    net.eval()
    found = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        for some in images.split(64):
            x = placed((some / 255 - MEAN) / STD, size).contiguous(memory_format=torch.channels_last)
            both = [net(x), net(x.flip(3)).flip(3)]
            found.append(to_tiles(sum(torch.sigmoid(y.float()) for y in both) / 2, size) > 0.5)
    return torch.cat(found).numpy()


def train(
    material: dict[str, np.ndarray],
    path: Path,
    *,
    model: str,
    size: int,
    epochs: int,
    batch: int,
    seed: int,
    bfloat16: bool,
) -> None:
    """Train on `images` and `masks`, write the curve to `path`, an entry an epoch."""
    torch.manual_seed(seed)
    weights = {name.removeprefix("encoder."): value for name, value in material.items() if name.startswith("encoder.")}
    net = network(model, weights)
    images, masks, val = (torch.from_numpy(material[name])[:, None] for name in ("images", "masks", "val"))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    steps = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=epochs * steps)
    dice = smp.losses.DiceLoss("binary")
    seconds, curve = 0.0, []
    for _ in range(epochs):
        net.train()
        started = time.perf_counter()
        for rows in torch.randperm(len(images))[: steps * batch].split(batch):
            x, y = (images[rows] / 255 - MEAN) / STD, masks[rows].float()
            mirrored = torch.rand(batch) < 0.5
            x[mirrored], y[mirrored] = x[mirrored].flip(3), y[mirrored].flip(3)
            x = x * (0.85 + 0.3 * torch.rand(batch, 1, 1, 1)) + (0.2 * torch.rand(batch, 1, 1, 1) - 0.1) / STD
            x, y = placed(x, size).contiguous(memory_format=torch.channels_last), (placed(y, size) > 0.5).float()
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = net(x)
            logits = logits.float()
            (F.binary_cross_entropy_with_logits(logits, y) + dice(logits, y)).backward()
            optimizer.step()
            schedule.step()
        seconds += time.perf_counter() - started
        curve.append(
            {"seconds": seconds, "masks": np.packbits(predict(net, val, size, bfloat16=bfloat16)).tobytes().hex()}
        )
        path.write_text(json.dumps(curve))


if __name__ == "__main__":
    with np.load(sys.argv[1]) as file:
        train(dict(file), Path(sys.argv[2]), **json.loads(sys.argv[3]))
