"""Features of timm's own networks with weights that a recipe gives: what ours, with the same weights, must equal.

    benchmarks/.venv/bin/python -m tests.models.pretrained.timm_features --golden=FILE.npz
    benchmarks/.venv/bin/python -m tests.models.pretrained.timm_features --live=FOLDER

It needs the packages of `make bench`. The first writes the file of the default suite (timm_features.npz beside this):
of each network names and shapes of its tensors, and at each stride some of the features. The second, for a slow test,
writes to FOLDER every feature, and the weights as safetensors.
"""

import argparse
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

NETWORKS = {  # ours: timm's
    **{name: name for name in ("resnet18", "resnet34", "resnet50", "seresnet18", "seresnet34", "seresnet50")},
    **{f"efficientnet_lite{k}": f"tf_efficientnet_lite{k}" for k in range(3)},
    **{f"efficientnetv2_b{k}": f"tf_efficientnetv2_b{k}" for k in range(4)},
}
STRIDES, SAMPLES = (2, 4, 8, 16, 32), 200


def recipe(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor by its name: weights of convolutions that keep the size of features, and norms that are no identity."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) == 4:
        values = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith(("running_var", "weight")):
        values = rng.uniform(0.5, 1.2, shape)
    else:
        values = rng.normal(0, 0.1, shape)
    if re.match(r"(layer.*bn[23]|blocks.*bn3).weight", name):
        values *= 0.3  # of what a block adds: else features grow a hundredfold over 16 blocks
    return values.astype(np.float32)


def gray(size: int = 64) -> np.ndarray:
    """The image: (1, 1, size, size), normalised."""
    return np.random.default_rng(1).standard_normal((1, 1, size, size), np.float32)


def sampled(features: np.ndarray) -> np.ndarray:
    """Some of the features (1, C, H, W), the same each time: (SAMPLES,)."""
    return features.ravel()[np.random.default_rng(2).integers(0, features.size, SAMPLES)]


def timms(name: str) -> tuple[dict[str, np.ndarray], dict[int, np.ndarray]]:
    """Weights, and features (1, C, H, W) by stride, of timm's network `name`."""
    import timm
    import torch

    net = timm.create_model(name, features_only=True, out_indices=(0, 1, 2, 3, 4)).eval()
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items() if "num_batches" not in key}
    weights = {key: recipe(key, shape) for key, shape in shapes.items()}
    left, unknown = net.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=False)
    assert not unknown
    assert all("num_batches" in key for key in left)
    with torch.no_grad():
        features = net(torch.from_numpy(np.repeat(gray(), 3, axis=1)))
    assert tuple(net.feature_info.reduction()) == STRIDES
    return weights, {stride: value.numpy() for stride, value in zip(STRIDES, features, strict=True)}


def golden(weights: Mapping[str, np.ndarray], features: Mapping[int, np.ndarray]) -> dict[str, np.ndarray]:
    """What the committed file holds of a network."""
    shapes = np.array([f"{key} {' '.join(map(str, value.shape))}" for key, value in weights.items()])
    return {"shapes": shapes, "features": np.stack([sampled(features[stride]) for stride in STRIDES])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--live", type=Path)
    args = parser.parse_args()
    parts = {}
    for ours, theirs in NETWORKS.items():
        weights, features = timms(theirs)
        print(theirs, *(f"{stride}: {value.std():.2f}" for stride, value in features.items()))
        parts |= {f"{ours}.{key}": value for key, value in golden(weights, features).items()}
        if args.live:
            from safetensors.numpy import save_file

            save_file(weights, args.live / f"{ours}.safetensors")
            np.savez(args.live / f"{ours}.npz", **{str(stride): value for stride, value in features.items()})
    if args.golden:
        np.savez_compressed(args.golden, **parts)


if __name__ == "__main__":
    main()
