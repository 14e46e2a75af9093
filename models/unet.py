"""The table of models: an encoder from `models.encoders` under one U-Net decoder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras
from keras import KerasTensor, layers

from data.errors import InputError
from models.blocks import conv_bn_relu, up_conv_bn_relu
from models.encoders import Features, resnet, tiny


@dataclass(frozen=True)
class Architecture:
    """An encoder, the decoder's channels at strides 16, 8, 4, 2 and 1, and a line for `--model=list`."""

    encoder: Callable[[KerasTensor], Features]
    decoder: tuple[int, int, int, int, int]
    about: str = ""


MODELS: dict[str, Architecture] = {
    "resnet34": Architecture(partial(resnet, blocks=(3, 4, 6, 3)), (256, 128, 64, 32, 16), "ResNet-34 encoder"),
    "resnet18": Architecture(partial(resnet, blocks=(2, 2, 2, 2)), (256, 128, 64, 32, 16), "ResNet-18 encoder"),
    "tiny": Architecture(tiny, (64, 32, 24, 16, 16), "for tests and demonstrations"),
}


def list_models() -> str:
    """A line for each model: parameters, and what it is."""
    return "\n".join(
        f"  {name:17} {make_model(name).count_params() / 1e6:5.1f} M parameters, {architecture.about}"
        for name, architecture in MODELS.items()
    )


def make_model(name: str, size: int = 128, *, mixed_precision: bool = False) -> keras.Model:
    """Build a segmentation network: normalised images (B, size, size, 1) -> logits float32 (B, size, size, 1).

    Args:
        name: a key of MODELS.
        size: side of the input in pixels, a multiple of 32.
        mixed_precision: compute in bfloat16; variables and logits stay float32.
    Raises:
        InputError: an unknown name (the message lists the known ones) or a size that does not fit.
    """
    if name not in MODELS:
        raise InputError(f"no model '{name}'; choose from {', '.join(sorted(MODELS))}")
    if size < 32 or size % 32:
        raise InputError(f"target size {size} is not a multiple of 32; take {max(32, round(size / 32) * 32)}")
    architecture = MODELS[name]
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed_precision else "float32")
    try:
        image = keras.Input((size, size, 1), name="image")
        x = _unet_decoder(architecture.encoder(image), architecture.decoder)
        # A quarter of the pixels is salt: start from its log-odds.
        x = layers.Conv2D(1, 3, padding="same", bias_initializer=keras.initializers.Constant(-1.1), name="logits")(x)
        logits = layers.Activation("linear", dtype="float32", name="float32")(x)  # the losses' type
    finally:
        keras.config.set_dtype_policy(policy)
    return keras.Model(image, logits, name=name)


def _unet_decoder(features: Features, channels: tuple[int, ...]) -> KerasTensor:
    """U-Net decoder (Ronneberger et al., 2015, arXiv:1505.04597): (B, S / 32, S / 32, C) -> (B, S, S, channels[-1])."""
    x = features[32]
    for stride, filters in zip((16, 8, 4, 2, 1), channels, strict=True):
        name = f"decoder.stride{stride}"
        x = up_conv_bn_relu(x, features.get(stride), filters, conv=f"{name}.conv1", bn=f"{name}.bn1")
        x = conv_bn_relu(x, filters, conv=f"{name}.conv2", bn=f"{name}.bn2")
    return x
