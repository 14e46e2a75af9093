"""The decoder: from an encoder's features to features at every stride down to 1, and to logits."""

from collections.abc import Sequence

from keras import KerasTensor, layers

from models.blocks import DepthToSpace, Enlarge, conv_bn_relu, make_logits, up_conv_bn_relu
from models.encoders.resnet import Features
from models.parts import Part


def unet_decoder(
    features: Features, channels: tuple[int, ...], parts: Sequence[Part] = (), *, last: int = 1
) -> Features:
    """Build the U-Net decoder (Ronneberger et al., 2015, arXiv:1505.04597), from the largest stride to the `last`.

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
        if not last <= stride < deepest:
            continue
        name = f"decoder.stride{stride}"
        x = up_conv_bn_relu(x, features.get(stride), filters, conv=f"{name}.conv1", bn=f"{name}.bn1")
        x = conv_bn_relu(x, filters, conv=f"{name}.conv2", bn=f"{name}.bn2")
        for part in parts:
            x = part.stage(x, name)
        stages[stride] = x
    return stages


def sum_logits(tops: Features) -> KerasTensor:
    """Build logits (B, S, S, 1) from features by stride: the sum of each one's, enlarged, but of the least stride.

    A convolution of features that are joined at full size would be the same sum, for several times as long. At the
    least stride each pixel has the logits of all the pixels that it stands for.
    """
    finest, *coarser = sorted(tops)
    finest_logits = make_logits(tops[finest], 3, pixels=finest**2, name="logits")
    logits = [finest_logits if finest == 1 else DepthToSpace(finest, name="logits.enlarge")(finest_logits)]
    for stride in coarser:
        name = f"hypercolumn.stride{stride}"
        x = make_logits(tops[stride], 3, name=name, bias=False)
        logits.append(Enlarge(stride, name=f"{name}.enlarge")(x))
    return layers.Add(name="hypercolumn")(logits) if len(logits) > 1 else logits[0]
