"""The layers that are ours for speed compute what Keras' own do: outputs, gradients and statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import blocks
from models.blocks import BatchNormalization, Conv2D, DepthwiseConv2D, UpConv2D


def drawn(*shape: int, dtype: str = "float32") -> tf.Tensor:
    return tf.cast(tf.random.stateless_normal(shape, (len(shape), shape[-1])), dtype)


def differentiate(run, inputs: list[tf.Tensor], weights: list) -> list[np.ndarray]:
    """The output of `run` and the gradients of a weighted sum of it, by inputs and weights."""
    variables = [w.value for w in weights]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = run(inputs)
        total = tf.reduce_sum(tf.cast(y, tf.float32) * drawn(*y.shape))
    return [t.numpy().astype(np.float32) for t in (y, *tape.gradient(total, [*inputs, *variables]))]


@pytest.mark.parametrize("side", [blocks.FEW_PIXELS["float32"] // 2, blocks.FEW_PIXELS["float32"]])
@pytest.mark.parametrize("skip_channels", [0, 3])
def test_up_convolution_is_a_convolution_of_the_enlarged_and_joined_input(side, skip_channels):
    x, skip = drawn(2, side, side, 5), drawn(2, 2 * side, 2 * side, skip_channels)
    inputs = [x, skip] if skip_channels else [x]
    layer = UpConv2D(4, name="up")
    layer.build([t.shape for t in inputs])

    def plain(inputs: list[tf.Tensor]) -> tf.Tensor:
        enlarged = tf.image.resize(inputs[0], (2 * side, 2 * side), "nearest")
        return tf.nn.conv2d(tf.concat([enlarged, *inputs[1:]], axis=3), layer.kernel.value, 1, "SAME")

    for ours, theirs in zip(*(differentiate(run, inputs, [layer.kernel]) for run in (layer, plain)), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-3)
    assert layer.compute_output_shape([t.shape for t in inputs]) == plain(inputs).shape


def test_both_ways_of_up_convolution_hold_the_same_weights():
    """Weights are found by the layer's kind and number: a network for another size of input can take them."""
    small, large = (UpConv2D(4, name="up") for _ in range(2))
    small.build([(None, 4, 4, 5)])
    large.build([(None, 64, 64, 5)])
    assert [(w.name, w.shape) for w in small.weights] == [(w.name, w.shape) for w in large.weights]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_normalisation_is_that_of_keras(dtype):
    policy = keras.DTypePolicy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    flags = {"momentum": 0.9, "epsilon": 1e-5, "dtype": policy}
    ours, theirs = BatchNormalization(**flags), keras.layers.BatchNormalization(**flags)
    x = drawn(4, 6, 6, 3, dtype=dtype) * 2 + 1
    near = {"rel": 1e-4, "abs": 1e-4} if dtype == "float32" else {"rel": 0.02, "abs": 0.06}
    results = []
    for layer in (ours, theirs):
        layer.build(x.shape)
        layer.set_weights([np.array(v, np.float32) for v in ([1, 2, 3], [0, 1, -1], [0.1, 0.2, 0.3], [1, 2, 3])])
        results.append([tf.cast(layer(x, training=False), tf.float32).numpy()])
        results[-1] += differentiate(lambda t, layer=layer: layer(t[0], training=True), [x], layer.trainable_weights)
    for a, b in zip(*results, strict=True):
        assert a == pytest.approx(b, **near)
    count = 4 * 6 * 6  # the moving variance takes count / (count - 1) of a batch's, as in PyTorch
    assert ours.moving_mean.numpy() == pytest.approx(theirs.moving_mean.numpy(), rel=1e-5)
    grown = (theirs.moving_variance.numpy() - 0.9 * np.array([1, 2, 3])) * count / (count - 1)
    assert ours.moving_variance.numpy() == pytest.approx(0.9 * np.array([1, 2, 3]) + grown, rel=1e-4)


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_convolution_is_that_of_keras(kernel, stride, xla):
    for height, width in ((1, 1), (2, 3), (4, 4), (7, 8), (16, 5)):
        x = drawn(2, height, width, 6)
        ours = DepthwiseConv2D(kernel, stride)
        theirs = keras.layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False)
        results = []
        for layer in (ours, theirs):
            layer.build(x.shape)
            layer.set_weights([drawn(kernel, kernel, 6, 1).numpy()])
            run = tf.function(lambda inputs, layer=layer: layer(inputs[0]), jit_compile=xla)
            results.append(differentiate(run, [x], layer.weights))
        for a, b in zip(*results, strict=True):
            assert a.shape == b.shape
            assert a == pytest.approx(b, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pointwise_convolution_is_that_of_keras(dtype, xla):
    x, policy = drawn(3, 4, 5, 6, dtype=dtype), "float32" if dtype == "float32" else "mixed_bfloat16"
    results = []
    for make in (Conv2D, keras.layers.Conv2D):
        layer = make(7, 1, use_bias=False, dtype=policy)
        layer.build(x.shape)
        layer.set_weights([drawn(1, 1, 6, 7).numpy()])
        run = tf.function(lambda inputs, layer=layer: layer(inputs[0]), jit_compile=xla)
        assert run([x]).dtype == dtype
        results.append(differentiate(run, [x], layer.weights))
    for a, b in zip(*results, strict=True):
        assert a.shape == b.shape
        assert a == pytest.approx(b, rel=1e-4 if dtype == "float32" else 2**-6, abs=1e-4)


def test_depthwise_convolution_of_bfloat16_is_computed_in_float32():
    x = drawn(2, 8, 8, 4, dtype="bfloat16")
    layer = DepthwiseConv2D(5, 2, dtype=keras.DTypePolicy("mixed_bfloat16"))
    layer.build(x.shape)
    mixed = differentiate(lambda inputs: layer(inputs[0]), [x], layer.weights)
    exact = differentiate(lambda inputs: layer(inputs[0]), [tf.cast(x, tf.float32)], layer.weights)
    assert layer(x).dtype == tf.bfloat16
    assert mixed[0] == pytest.approx(exact[0], rel=2**-8)  # rounded once
    assert mixed[2] == pytest.approx(exact[2], rel=0.02, abs=0.1)  # by the rounded gradient of what comes out
