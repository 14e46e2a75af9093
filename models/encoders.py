"""Encoders: an image in, features at strides 2, 4, 8, 16 and 32 out, highest resolution first.

Layers carry the names of timm's ResNets behind "encoder.", so that pretrained weights map one to one.
"""

from keras import KerasTensor, layers

from models.blocks import conv_bn_relu, convolve, normalise
from models.chance import Drop

Features = dict[int, KerasTensor]  # stride -> (B, S / stride, S / stride, C)


def resnet(x: KerasTensor, blocks: tuple[int, int, int, int], *, pool: bool = True, drop_path: float = 0.0) -> Features:
    """ResNet of basic blocks (He et al., 2015, arXiv:1512.03385) on x (B, S, S, 1).

    Args:
        blocks: how many at each of four resolutions.
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
            x = _basic_block(x, 32 << stage, stride, drop, f"encoder.layer{stage}.{block}")
        features[deepest >> 4 - stage] = x
    return features


def _basic_block(x: KerasTensor, filters: int, stride: int, drop: float, name: str) -> KerasTensor:
    shortcut = x
    x = conv_bn_relu(x, filters, stride=stride, conv=f"{name}.conv1", bn=f"{name}.bn1")
    x = normalise(convolve(x, filters, 3, name=f"{name}.conv2"), f"{name}.bn2")
    if drop:
        x = Drop(drop, channels=False, name=f"{name}.drop_path")(x)
    if stride > 1:
        shortcut = convolve(shortcut, filters, 1, stride=stride, name=f"{name}.downsample.0")
        shortcut = normalise(shortcut, f"{name}.downsample.1")
    return layers.ReLU(name=f"{name}.relu")(layers.Add(name=f"{name}.add")([x, shortcut]))


def tiny(x: KerasTensor) -> Features:
    """Two convolutions a stride, 16 to 96 channels: for tests and demonstrations."""
    features = {}
    for stride, filters in ((2, 16), (4, 24), (8, 32), (16, 64), (32, 96)):
        name = f"encoder.stride{stride}"
        x = conv_bn_relu(x, filters, stride=2, conv=f"{name}.conv1", bn=f"{name}.bn1")
        x = conv_bn_relu(x, filters, conv=f"{name}.conv2", bn=f"{name}.bn2")
        features[stride] = x
    return features
