"""EfficientNets as encoders: Lite, in timm's layout for its weights, and V2, as keras.applications builds it."""

from collections.abc import Callable
from math import ceil

import keras
from keras import KerasTensor, layers

from models.blocks import BatchNormalization, Conv2D, DepthwiseConv2D, batch_norm
from models.encoders.resnet import Features
from models.randomness import DropPath

# Of each stage: kernel, stride, expansion of the channels within a block, channels, blocks.
LITE = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
        (3, 1, 6, 320, 1))  # fmt: skip


def efficientnet_lite(
    x: KerasTensor, width: float = 1.0, depth: float = 1.0, *, pool: bool = True, drop_path: float = 0.0
) -> Features:
    """Build an EfficientNet-Lite (Tan and Le, 2019, arXiv:1905.11946; Lite: Liu, 2020) on x (B, S, S, 1), as in timm.

    Without squeeze and excitation, with ReLU6. Strided convolutions are padded as TensorFlow does ("same"), since its
    pretrained weights come from there.

    Args:
        width: multiplies the channels of every stage, rounded to eights, but not the stem's.
        depth: multiplies the blocks of all stages but the first and the last, rounded up.
        pool: False gives the stem stride 1, and the features are at strides 1 to 16.
        drop_path: rate 0..1 at which the last block is left out while training, and others by their depth
            (stochastic depth; Huang et al., 2016, arXiv:1603.09382); only those with a shortcut can be.
    """
    features, stride, done = {}, 2 if pool else 1, 0
    counts = [count if stage in (0, len(LITE) - 1) else ceil(count * depth) for stage, (*_, count) in enumerate(LITE)]
    stem = {"use_bias": False, "kernel_initializer": "he_normal", "name": "encoder.conv_stem"}
    x = layers.Conv2D(32, 3, stride, "same", **stem)(x)
    x = _bn_relu6(x, "encoder.bn1")
    for stage, (kernel, step, expansion, channels, _) in enumerate(LITE):
        filters = int(channels * width + 4) // 8 * 8
        stride *= step
        for block in range(counts[stage]):
            done += 1
            kind = {"kernel": kernel, "stride": step if block == 0 else 1, "drop": drop_path * done / sum(counts)}
            x = inverted_residual(x, filters, expansion, f"encoder.blocks.{stage}.{block}", **kind)
        features[stride] = x  # of stages at one stride the last counts
    return features


def inverted_residual(
    x: KerasTensor, filters: int, expansion: int, name: str, *, kernel: int, stride: int, drop: float = 0.0
) -> KerasTensor:
    """Widen, convolve each channel alone, narrow (Sandler et al., 2018, arXiv:1801.04381); left out at rate `drop`."""
    shortcut = x
    convolutions = ("conv_dw", "conv_pw") if expansion == 1 else ("conv_pw", "conv_dw", "conv_pwl")
    for k, conv in enumerate(convolutions, start=1):
        last = k == len(convolutions)
        if conv == "conv_dw":
            # By its outputs: Keras counts all channels as the inputs of each, and would start it far too small.
            start = keras.initializers.VarianceScaling(2.0, "fan_out")
            layer = DepthwiseConv2D(kernel, stride, depthwise_initializer=start, name=f"{name}.{conv}")
        else:
            width = filters if last else expansion * x.shape[-1]
            layer = Conv2D(width, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}.{conv}")
        x = batch_norm(layer(x), f"{name}.bn{k}", epsilon=1e-3) if last else _bn_relu6(layer(x), f"{name}.bn{k}")
    if shortcut.shape != x.shape:
        return x
    if drop:
        x = DropPath(drop, name=f"{name}.drop_path")(x)
    return layers.Add(name=f"{name}.add")([x, shortcut])


def _bn_relu6(x: KerasTensor, name: str) -> KerasTensor:
    """Normalise by the batch, ReLU6, in float32: as depthwise convolutions are, and on a CPU twice as fast."""
    return layers.ReLU(6.0, dtype="float32", name=f"{name}.relu")(batch_norm(x, name, epsilon=1e-3, dtype="float32"))


def from_keras(x: KerasTensor, application: Callable[..., keras.Model], ends: dict[int, str]) -> Features:
    """Build a network of keras.applications on x (B, S, S, C), with random weights.

    Its layers are built anew for what Keras leaves no choice: names of our own, our faster batch normalisation, and no
    dropping of whole blocks, whose chance is a state of its own that a resumed training would not repeat.

    Args:
        application: such as keras.applications.EfficientNetV2B0.
        ends: for each stride, how the names of the layers begin of which the last gives the features.
    """
    net = application(include_top=False, weights=None, include_preprocessing=False, input_shape=tuple(x.shape[1:]))
    last = {stride: [layer for layer in net.layers if layer.name.startswith(end)][-1] for stride, end in ends.items()}

    def rebuilt(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config() | {"name": f"encoder.{layer.name}"}
        if isinstance(layer, layers.Dropout):
            return layers.Identity(name=config["name"])
        if isinstance(layer, layers.BatchNormalization):
            return BatchNormalization(momentum=layer.momentum, epsilon=layer.epsilon, name=config["name"])
        return type(layer).from_config(config)

    encoder = keras.Model(net.input, [layer.output for layer in last.values()])
    encoder = keras.models.clone_model(
        encoder, input_tensors=x, clone_function=rebuilt, call_function=lambda layer, inputs, **_: layer(inputs)
    )
    return dict(zip(ends, encoder.outputs, strict=True))


def efficientnet_v2(x: KerasTensor, version: str) -> Features:
    """Build an EfficientNetV2 (Tan and Le, 2021, arXiv:2104.00298) on x (B, S, S, 1); version: B0 to B3."""
    ends = {2: "block1", 4: "block2", 8: "block3", 16: "block5", 32: "block6"}
    return from_keras(x, getattr(keras.applications, f"EfficientNetV2{version}"), ends)
