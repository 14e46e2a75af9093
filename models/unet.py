"""The table of models: an encoder from `models.encoders` under one U-Net decoder, with parts from `models.parts`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras
from keras import KerasTensor, layers

from common.errors import InputError
from common.names import find, list_names
from models.decoder import sum_logits, unet_decoder
from models.encoders.efficientnet import efficientnet_lite, efficientnet_v2
from models.encoders.resnet import Features, resnet, tiny
from models.parts import PARTS, Part


@dataclass(frozen=True)
class Architecture:
    """An encoder, the decoder's channels at strides 16, 8, 4, 2 and 1, and a line for `--model=list`.

    `options`: the encoder's keywords that parts may give.
    """

    encoder: Callable[..., Features]
    decoder: tuple[int, int, int, int, int]
    about: str = ""
    options: tuple[str, ...] = ()

    def takes(self, part: Part) -> bool:
        """Say whether the encoder knows what `part` asks of it."""
        return part.encoder().keys() <= set(self.options)


WIDTHS = (256, 128, 64, 32, 16)
LIGHT = (128, 64, 32, 16, 16)  # under light encoders: narrow where pixels are many, measured in benchmarks/accuracy.md


def _resnet(about: str, blocks: tuple[int, int, int, int], **kind: bool) -> Architecture:
    return Architecture(partial(resnet, blocks=blocks, **kind), WIDTHS, about, options=("pool", "drop_path"))


def _lite(about: str, **scale: float) -> Architecture:
    return Architecture(partial(efficientnet_lite, **scale), LIGHT, about, options=("pool", "drop_path"))


def _v2(about: str, version: str) -> Architecture:
    return Architecture(partial(efficientnet_v2, version=version), WIDTHS, about)


SMALL, LARGE = (2, 2, 2, 2), (3, 4, 6, 3)  # blocks of ResNet-18, and of ResNet-34 and 50
MODELS: dict[str, Architecture] = {
    "resnet34": _resnet("24.4 M parameters, ResNet-34", LARGE),
    "resnet18": _resnet("14.3 M parameters, ResNet-18", SMALL),
    "resnet50": _resnet("32.6 M parameters, ResNet-50", LARGE, bottleneck=True),
    "seresnet18": _resnet("14.4 M parameters, SE-ResNet-18", SMALL, squeeze=True),
    "seresnet34": _resnet("24.6 M parameters, SE-ResNet-34", LARGE, squeeze=True),
    "seresnet50": _resnet("35.1 M parameters, SE-ResNet-50", LARGE, bottleneck=True, squeeze=True),
    "efficientnet_lite0": _lite("3.8 M parameters, EfficientNet-Lite0"),
    "efficientnet_lite1": _lite("4.6 M parameters, EfficientNet-Lite1", depth=1.1),
    "efficientnet_lite2": _lite("5.3 M parameters, EfficientNet-Lite2", width=1.1, depth=1.2),
    "efficientnetv2_b0": _v2("7.6 M parameters, EfficientNetV2-B0", "B0"),
    "efficientnetv2_b1": _v2("8.6 M parameters, EfficientNetV2-B1", "B1"),
    "efficientnetv2_b2": _v2("10.5 M parameters, EfficientNetV2-B2", "B2"),
    "efficientnetv2_b3": _v2("14.7 M parameters, EfficientNetV2-B3", "B3"),
    "tiny": Architecture(tiny, (64, 32, 24, 16, 16), "0.4 M parameters, for tests and demonstrations"),
}


def list_models() -> str:
    """Write a line for each encoder and each part. Parameters are not counted here: all networks would be built."""
    return (
        f"{list_names(MODELS)}\nand parts, in this order, as in --model=resnet34+scse+hypercolumn\n{list_names(PARTS)}"
    )


def read_name(text: str) -> tuple[Architecture, list[Part]]:
    """Look up the encoder and the parts of a name such as "resnet34+nopool+scse".

    Parts come in the order of PARTS and once each, so that a network has one name, and its weights one folder.

    Raises:
        InputError: a name that is not known (the message lists the known ones), or parts that do not go so.
    """
    encoder, *names = text.split("+")
    architecture = find(encoder, MODELS, "model")
    known = {name: part for name, part in PARTS.items() if architecture.takes(part)}
    for name in names:
        if name in PARTS and name not in known:
            raise InputError(f"--model={text}: {encoder} takes no part '{name}'; choose from {', '.join(known)}")
        find(name, known, "part")
    ordered = [name for name in known if name in names]
    if names != ordered:
        raise InputError(f"--model={text}: each part once, in the order of the list: {'+'.join([encoder, *ordered])}")
    return architecture, [PARTS[name] for name in names]


def make_model(name: str, size: int = 128, *, mixed_precision: bool = False) -> keras.Model:
    """Build a segmentation network: standardised images (B, size, size, 1) -> logits float32 (B, size, size, 1).

    With the part `deep` it gives a list, of which the logits are the first; `logits_only` leaves out the rest.

    Args:
        name: a key of MODELS, and perhaps keys of PARTS, as in "resnet34+scse+hypercolumn".
        size: side of the input in pixels, a multiple of 32.
        mixed_precision: compute in bfloat16; variables and logits stay float32.
    Raises:
        InputError: an unknown name (the message lists the known ones) or a size that does not fit.
    """
    architecture, parts = read_name(name)
    if size < 32 or size % 32:
        raise InputError(f"target size {size} is not a multiple of 32; take {max(32, round(size / 32) * 32)}")
    policy, data_format = keras.config.dtype_policy(), keras.config.image_data_format()
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed_precision else "float32")
    keras.config.set_image_data_format("channels_last")  # whatever a user's keras.json says
    try:
        image = keras.Input((size, size, 1), name="image")
        outputs = _build(image, architecture, parts)
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(data_format)
    # TensorFlow allows no "+" in the name of a scope.
    return keras.Model(image, outputs if len(outputs) > 1 else outputs[0], name=name.replace("+", "."))


def _build(image: KerasTensor, architecture: Architecture, parts: list[Part]) -> list[KerasTensor]:
    """Build a network's outputs: logits, and what its parts add."""
    features = architecture.encoder(image, **{key: value for part in parts for key, value in part.encoder().items()})
    ending = {key: value for part in parts for key, value in part.decoder().items()}
    stages = unet_decoder(features, architecture.decoder, parts, **ending)
    last = min(stages)
    tops = {last: stages[last]}
    for part in parts:
        tops = part.tops(tops, stages)
    logits = layers.Activation("linear", dtype="float32", name="float32")(sum_logits(tops))  # the losses' type
    return [logits, *(head for part in parts for head in part.heads(features, stages))]


def resized(model: keras.Model, size: int) -> keras.Model:
    """Make the same network, of the same layers and variables, for inputs of another `size`, a multiple of 32."""
    image = keras.Input((size, size, 1), name="image")
    return keras.models.clone_model(model, input_tensors=image, clone_function=lambda layer: layer)


def logits_only(model: keras.Model) -> keras.Model:
    """Make the same network, of the same variables, without what only its training needs."""
    return model if len(model.outputs) == 1 else keras.Model(model.inputs[0], model.outputs[0], name=model.name)
