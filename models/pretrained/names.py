"""What the layers of our encoders are called in the files that people have."""

import re
from collections.abc import Iterable

# The layers of a block in timm's EfficientNets, and in the efficientnet_lite_pytorch package.
SEPARABLE = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
INVERTED = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
INVERTED |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
# The layers of a block in keras.applications' EfficientNetV2, and in timm's: plain, fused, inverted residual.
PLAIN_V2 = {"project_conv": "conv", "project_bn": "bn1"}
FUSED_V2 = {"expand_conv": "conv_exp", "expand_bn": "bn1", "project_conv": "conv_pwl", "project_bn": "bn2"}
INVERTED_V2 = {"expand_conv": "conv_pw", "expand_bn": "bn1", "dwconv2": "conv_dw", "bn": "bn2"}
INVERTED_V2 |= {"se_reduce": "se.conv_reduce", "se_expand": "se.conv_expand"}
INVERTED_V2 |= {"project_conv": "conv_pwl", "project_bn": "bn3"}


def layouts(layers: Iterable[str]) -> list[dict[str, str]]:
    """List the ways to name an encoder's layers in a file, timm's first: from ours, without "encoder.", to theirs."""
    layers = list(layers)
    if "stem_conv" in layers:
        return [_timm_v2(layers)]
    return [{name: name for name in layers}, *([_lite_package(layers)] if "conv_stem" in layers else [])]


def _timm_v2(layers: list[str]) -> dict[str, str]:
    """Name layers as timm does, which counts stages and blocks from 0 where Keras has numbers and letters."""
    theirs = {"stem_conv": "conv_stem", "stem_bn": "bn1"}
    for name in layers:
        if match := re.fullmatch(r"(block(\d)(\w)_)(.*)", name):
            block, stage, letter, layer = match.groups()
            kind = (
                INVERTED_V2
                if f"{block}dwconv2" in layers
                else FUSED_V2
                if f"{block}expand_conv" in layers
                else PLAIN_V2
            )
            theirs[name] = f"blocks.{int(stage) - 1}.{ord(letter) - ord('a')}.{kind[layer]}"
    return theirs


def _lite_package(layers: list[str]) -> dict[str, str]:
    """Name layers as the package does, which counts blocks through, from 0."""
    theirs, blocks = {"conv_stem": "_conv_stem", "bn1": "_bn0"}, []
    for name in layers:
        if "." in name:
            block, layer = name.rsplit(".", 1)
            blocks += [block] if block not in blocks else []
            kind = INVERTED if f"{block}.conv_pwl" in layers else SEPARABLE
            theirs[name] = f"_blocks.{blocks.index(block)}.{kind[layer]}"
    return theirs
