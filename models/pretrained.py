"""Pretrained encoders: ImageNet weights in timm's layout, read from safetensors files (numbers only, no code)."""

from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from data.errors import InputError
from data.tiles import check_is_file

NORM_PARTS = ("weight", "bias", "running_mean", "running_var")  # in the order of Keras' BatchNormalization


def load_encoder(model: keras.Model, path: str | Path) -> None:
    """Assign the weights of a timm (or torchvision) ResNet to the encoder of `model`; other tensors are left alone.

    The stem's three colour channels are summed, which is exact for a gray image in all three.

    Raises:
        InputError: an unreadable file, or one without a tensor of the right shape for every encoder layer.
    """
    try:
        check_is_file(path)
        open(path, "rb").close()  # safetensors calls every file that it cannot open missing
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        # The last three: a format of numbers that numpy lacks.
        reason = str(error)[:120]
        raise InputError(f"{path} is no safetensors file ({reason}); give timm's model.safetensors") from None

    encoder = model.name.split(".")[0]  # without the network's parts

    def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
        value = tensors.get(name)
        if value is None:
            raise InputError(f"{path} has no tensor '{name}'; {encoder} needs the weights of timm's {encoder}")
        if value.dtype.kind != "f":
            raise InputError(f"{path}: '{name}' holds {value.dtype}, not floating-point numbers; give timm's file")
        if not np.isfinite(value).all():
            raise InputError(f"{path}: '{name}' holds what is not a number; get the file again")
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)  # (O, I, H, W) -> (H, W, I, O)
            if value.shape[2] == 3 and shape[2] == 1:
                value = value.sum(axis=2, keepdims=True)
        if value.shape != shape:
            raise InputError(f"{path}: '{name}' has the shape {value.shape}, {encoder} needs {shape}")
        return value.astype(np.float32)

    for layer in model.layers:
        if layer.name.startswith("encoder.") and layer.weights:
            name = layer.name.removeprefix("encoder.")
            parts = NORM_PARTS if isinstance(layer, keras.layers.BatchNormalization) else ("weight",)
            shapes = [tuple(weight.shape) for weight in layer.weights]
            layer.set_weights([tensor(f"{name}.{p}", shape) for p, shape in zip(parts, shapes, strict=True)])
