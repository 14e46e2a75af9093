"""Encoders: an image in, features at strides 2, 4, 8, 16 and 32 out, highest resolution first.

Layers carry the names of timm's ResNets behind "encoder.", so that pretrained weights map one to one.
"""

from keras import KerasTensor, layers

from models.blocks import batch_norm, conv_bn_relu, convolve
from models.randomness import DropPath

Features = dict[int, KerasTensor]  # stride -> (B, S / stride, S / stride, C)


def resnet(
    x: KerasTensor,
    blocks: tuple[int, int, int, int],
    *,
    bottleneck: bool = False,
    squeeze: bool = False,
    pool: bool = True,
    drop_path: float = 0.0,
) -> Features:
    """Build a ResNet (He et al., 2015, arXiv:1512.03385) on x (B, S, S, 1), as in timm.

    Args:
        blocks: how many in each of the four stages.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions, the 3x3 with the stride; otherwise of two 3x3.
        squeeze: weigh each block's channels by squeeze and excitation.
        pool: False leaves out the stem's max-pool, and the features are at strides 2 to 16.
        drop_path: rate 0..1 at which the last block is left out while training, and others by their depth
            (stochastic depth; Huang et al., 2016, arXiv:1603.09382).
    """
    features = {}
    x = conv_bn_relu(x, 64, 7, stride=2, conv="encoder.conv1", bn="encoder.bn1")
    if pool:
        features[2] = x
        x = layers.ZeroPadding2D(1, name="encoder.maxpool.pad")(x)  # zeros are the least a ReLU gives
        x = layers.MaxPooling2D(3, 2, name="encoder.maxpool")(x)
    deepest, done = 32 if pool else 16, 0
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            done += 1
            drop = drop_path * done / sum(blocks)
            stride = 2 if stage > 1 and block == 0 else 1
            x = _block(
                x,
                32 << stage,
                f"encoder.layer{stage}.{block}",
                stride=stride,
                bottleneck=bottleneck,
                squeeze=squeeze,
                drop=drop,
            )
        features[deepest >> 4 - stage] = x
    return features


def _block(
    x: KerasTensor, filters: int, name: str, *, stride: int, bottleneck: bool, squeeze: bool, drop: float
) -> KerasTensor:
    shortcut, last = x, "3" if bottleneck else "2"
    if bottleneck:
        x = conv_bn_relu(x, filters, 1, conv=f"{name}.conv1", bn=f"{name}.bn1")
        x = conv_bn_relu(x, filters, stride=stride, conv=f"{name}.conv2", bn=f"{name}.bn2")
        filters *= 4
    else:
        x = conv_bn_relu(x, filters, stride=stride, conv=f"{name}.conv1", bn=f"{name}.bn1")
    x = batch_norm(convolve(x, filters, 1 if bottleneck else 3, name=f"{name}.conv{last}"), f"{name}.bn{last}")
    if squeeze:
        x = _squeeze_excite(x, f"{name}.se")
    if drop:
        x = DropPath(drop, name=f"{name}.drop_path")(x)
    if shortcut.shape != x.shape:
        shortcut = convolve(shortcut, filters, 1, stride=stride, name=f"{name}.downsample.0")
        shortcut = batch_norm(shortcut, f"{name}.downsample.1")
    return layers.ReLU(name=f"{name}.relu")(layers.Add(name=f"{name}.add")([x, shortcut]))


def _squeeze_excite(x: KerasTensor, name: str) -> KerasTensor:
    """Weigh the channels of x (B, H, W, C) by their means over the image (Hu et al., 2018, arXiv:1709.01507)."""
    channels = x.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}.mean")(x)  # (B, 1, 1, C)
    weights = layers.Conv2D(max(8, channels // 16), 1, activation="relu", name=f"{name}.fc1")(weights)
    weights = layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}.fc2")(weights)
    return layers.Multiply(name=f"{name}.scale")([x, weights])


def tiny(x: KerasTensor) -> Features:
    """Build two convolutions a stride, of 16 to 96 channels: for tests and demonstrations."""
    features = {}
    for stride, filters in ((2, 16), (4, 24), (8, 32), (16, 64), (32, 96)):
        name = f"encoder.stride{stride}"
        x = conv_bn_relu(x, filters, stride=2, conv=f"{name}.conv1", bn=f"{name}.bn1")
        x = conv_bn_relu(x, filters, conv=f"{name}.conv2", bn=f"{name}.bn2")
        features[stride] = x
    return features
