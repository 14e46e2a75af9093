"""The decoder: from an encoder's features to features at every stride down to 1."""

from collections.abc import Sequence

from models.blocks import conv_bn_relu, up_conv_bn_relu
from models.encoders.resnet import Features
from models.parts import Part


def unet_decoder(features: Features, channels: tuple[int, ...], parts: Sequence[Part] = ()) -> Features:
    """Build the U-Net decoder (Ronneberger et al., 2015, arXiv:1505.04597), from the largest stride to stride 1.

    Args:
        features: of the encoder, at strides up to 32; a stride may be left out and has no skip connection then.
        channels: at strides 16, 8, 4, 2 and 1.
        parts: may each change what a stage puts out.
    Returns:
        a feature (B, S / stride, S / stride, channels) for each stride below the encoder's largest, that first.
    """
    deepest = max(features)
    x, stages = features[deepest], {}
    for stride, filters in zip((16, 8, 4, 2, 1), channels, strict=True):
        if stride >= deepest:
            continue
        name = f"decoder.stride{stride}"
        x = up_conv_bn_relu(x, features.get(stride), filters, conv=f"{name}.conv1", bn=f"{name}.bn1")
        x = conv_bn_relu(x, filters, conv=f"{name}.conv2", bn=f"{name}.bn2")
        for part in parts:
            x = part.stage(x, name)
        stages[stride] = x
    return stages
