"""The pieces that encoders and the decoder are built from; channels last throughout.

Layers that stand in for Keras' own have its names: a weights file calls a layer by its class, and is to outlive ours.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from keras import KerasTensor, initializers, layers

# Row i of a 4x4 kernel that sums a 3x3 kernel's rows 3 - i and 2 - i, where there are such; the same for columns.
ROWS = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
TAPS = np.einsum("ia,jb->ijab", ROWS, ROWS)  # (4, 4, 3, 3)
FEW_PIXELS = {"float32": 4, "bfloat16": 8}  # a side below which UpConv2D's sums cost more than they save, two CPU cores
_fused = tf.compat.v1.nn.fused_batch_norm


class BatchNormalization(layers.BatchNormalization):
    """Keras' layer computed by TensorFlow's fused operation: on a CPU several times as fast as Keras' own dozen.

    Statistics are float32 whatever the input's type; the moving variance is the unbiased one, as in PyTorch.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)  # scale and shift stay float32 beside a bfloat16 input

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """(B, H, W, C) -> (B, H, W, C), of the same type."""
        x = tf.cast(x, self.compute_dtype)
        scale, shift, mean, variance = (v.value for v in self.weights)  # (C,) each
        if not training:
            return _fused(x, scale, shift, mean=mean, variance=variance, epsilon=self.epsilon, is_training=False)[0]
        y, batch_mean, batch_variance = _fused(x, scale, shift, epsilon=self.epsilon, is_training=True)
        mean.assign_sub((1.0 - self.momentum) * (mean - batch_mean))
        variance.assign_sub((1.0 - self.momentum) * (variance - batch_variance))
        return y


class DepthwiseConv2D(layers.DepthwiseConv2D):
    """Convolve each channel alone, padded "same", in float32 whatever the input's type.

    For kernels above 3x3 the kernel's gradient asks for explicit padding: TensorFlow then takes another code, 1.4 to 5
    times as fast on a CPU. In bfloat16 the gradients of such kernels take 2 to 3 times as long as in float32.
    """

    def __init__(self, kernel_size: int, strides: int = 1, **kwargs):
        super().__init__(kernel_size, strides, "same", use_bias=False, autocast=False, **kwargs)

    def build(self, shape: tuple) -> None:
        """Make the kernel for the shape of x."""
        shape = (*self.kernel_size, shape[-1], 1)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.depthwise_initializer, autocast=False
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> (B, H / stride, W / stride, C), of the same type."""
        y = _depthwise(tf.cast(x, tf.float32), tf.convert_to_tensor(self.kernel.value), self.strides[0])
        return tf.cast(y, x.dtype)


class Conv2D(layers.Conv2D):
    """Keras' layer; where its kernel is 1x1, without stride and groups, the kernel's gradient is a matrix product.

    On a CPU that takes 0.85 of TensorFlow's own in float32 and 0.5 in bfloat16, over EfficientNet-Lite0's at 96 px.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> (B, H / stride, W / stride, filters), before bias and activation."""
        if self.kernel_size != (1, 1) or self.strides != (1, 1) or self.groups != 1:
            return super().convolution_op(inputs, kernel)
        return _pointwise(inputs, tf.convert_to_tensor(kernel))


class UpConv2D(layers.Layer):
    """3x3 convolution of an input enlarged twice (nearest neighbour) and joined by a skip.

    In the enlarged input every pixel is there twice in each direction, so three taps of the kernel fall on two pixels:
    a transposed convolution with a 4x4 kernel of their sums. The same function with 4/9 of the multiplications, without
    the enlarged and the joined tensor; where pixels are few, though, the sums cost more than they save.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(autocast=False, **kwargs)  # the taps are summed in float32
        self.filters = filters

    def build(self, shapes: list[tuple]) -> None:
        """Make the kernel for the shapes of x and, if there is one, of the skip."""
        channels = sum(shape[-1] for shape in shapes)
        shape = (3, 3, channels, self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="he_normal", autocast=False)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Convolve x (B, H, W, C), and perhaps a skip (B, 2H, 2W, D) -> (B, 2H, 2W, filters)."""
        x, *skips = (tf.cast(tensor, self.compute_dtype) for tensor in inputs)
        kernel, (_, height, width, channels) = self.kernel.value, x.shape
        if height < FEW_PIXELS[self.compute_dtype]:
            x = tf.concat([tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2), *skips], axis=3)
            return tf.nn.conv2d(x, tf.cast(kernel, x.dtype), 1, "SAME")
        taps = tf.tensordot(TAPS, kernel[:, :, :channels], ((2, 3), (0, 1)))  # (4, 4, C, filters)
        taps = tf.transpose(tf.cast(taps, x.dtype), (0, 1, 3, 2))  # as transposed convolutions have them
        y = tf.nn.conv2d_transpose(x, taps, (tf.shape(x)[0], 2 * height, 2 * width, self.filters), 2, "SAME")
        for skip in skips:
            y += tf.nn.conv2d(skip, tf.cast(kernel[:, :, channels:], x.dtype), 1, "SAME")
        return y

    def compute_output_shape(self, shapes: list[tuple]) -> tuple:
        """Tell the shape of what `call` returns."""
        batch, height, width, _ = shapes[0]
        return batch, 2 * height, 2 * width, self.filters


class DepthToSpace(layers.Layer):
    """Put channels side by side as pixels: TensorFlow's operation, which exports to ONNX as its own."""

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C * factor * factor) -> (B, factor * H, factor * W, C)."""
        return tf.nn.depth_to_space(x, self.factor)

    def compute_output_shape(self, shape: tuple) -> tuple:
        """Tell the shape of what `call` returns."""
        batch, height, width, channels = shape
        return batch, self.factor * height, self.factor * width, channels // self.factor**2


class Enlarge(layers.Layer):
    """Bilinear enlargement by a whole factor, as a product with one constant matrix in each direction.

    Of TensorFlow's own the gradient is float32 whatever the input is, which XLA rejects beside bfloat16. The products
    are of float32: on a CPU TensorFlow multiplies small bfloat16 matrices by a slow sparse product, and a step of all
    four enlargements of a hypercolumn takes 120 ms with them and 70 so (Keras' UpSampling2D in float32: 68; where all
    is float32: 46, and 48).
    """

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> (B, factor * H, factor * W, C); beyond the outermost pixels' centres, their values."""
        _, height, width, channels = x.shape
        y = tf.reshape(tf.cast(x, tf.float32), (-1, width, channels))  # (B * H, W, C)
        y = tf.matmul(self._weights(width), y)  # (B * H, factor * W, C)
        y = tf.reshape(y, (-1, height, self.factor * width * channels))
        y = tf.matmul(self._weights(height), y)  # (B, factor * H, factor * W * C)
        return tf.cast(tf.reshape(y, (-1, self.factor * height, self.factor * width, channels)), x.dtype)

    def compute_output_shape(self, shape: tuple) -> tuple:
        """Tell the shape of what `call` returns."""
        batch, height, width, channels = shape
        return batch, self.factor * height, self.factor * width, channels

    def _weights(self, side: int) -> tf.Tensor:
        """Make the matrix of how much of each of `side` pixels goes into each enlarged one: (factor * side, side)."""
        place = (np.arange(self.factor * side) + 0.5) / self.factor - 0.5
        distance = np.abs(np.clip(place, 0, side - 1)[:, None] - np.arange(side))
        return tf.constant(np.maximum(0.0, 1.0 - distance), tf.float32)


def _depthwise(x: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Convolve x, float32 (B, H, W, C), with kernel (k, k, C, 1), padded "same": (B, H / stride, W / stride, C)."""
    strides, side = (1, stride, stride, 1), kernel.shape[0]

    @tf.custom_gradient
    def convolved(x, kernel):
        y = tf.nn.depthwise_conv2d(x, kernel, strides, "SAME")
        pairs = zip(x.shape[1:3], y.shape[1:3], strict=True)
        lacking = [max(0, (after - 1) * stride + side - before) for before, after in pairs]
        padding = [(0, 0), *((n // 2, n - n // 2) for n in lacking), (0, 0)] if side > 3 else "SAME"

        def gradients(dy):
            dx = tf.nn.depthwise_conv2d_backprop_input(tf.shape(x), kernel, dy, strides, "SAME")
            return dx, tf.nn.depthwise_conv2d_backprop_filter(x, kernel.shape, dy, strides, padding)

        return y, gradients

    return convolved(x, kernel)


@tf.custom_gradient
def _pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Convolve x (B, H, W, C) with kernel (1, 1, C, D): (B, H, W, D)."""
    sides = {"strides": [1, 1, 1, 1], "padding": "SAME"}

    def gradients(dy):
        dx = tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=kernel, out_backprop=dy, **sides)
        rows, errors = (tf.reshape(values, (1, -1, values.shape[-1])) for values in (x, dy))
        # With a first axis of 1: TensorFlow's product of plain matrices has no code for small ones of bfloat16.
        return dx, tf.matmul(rows, errors, transpose_a=True)[None]

    return tf.raw_ops.Conv2D(input=x, filter=kernel, **sides), gradients


def convolve(x: KerasTensor, filters: int, kernel: int, *, stride: int = 1, name: str) -> KerasTensor:
    """Convolve without bias: (B, H, W, C) -> (B, H / stride, W / stride, filters).

    Strided ones are padded alike on both sides, as PyTorch does: Keras' "same" is not, and would shift
    features (and pretrained weights) by half a pixel.
    """
    padding = "same"
    if stride > 1 and kernel > 1:
        x, padding = layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x), "valid"
    return layers.Conv2D(filters, kernel, stride, padding, use_bias=False, kernel_initializer="he_normal", name=name)(x)


def batch_norm(x: KerasTensor, name: str, epsilon: float = 1e-5, dtype: str | None = None) -> KerasTensor:
    """Normalise by the batch, with ResNet's constants; what comes out is of `dtype`, or else of Keras' policy."""
    return BatchNormalization(momentum=0.9, epsilon=epsilon, name=name, dtype=dtype)(x)


def conv_bn_relu(x: KerasTensor, filters: int, kernel: int = 3, *, stride: int = 1, conv: str, bn: str) -> KerasTensor:
    """Convolve, normalise by the batch, ReLU; `conv` and `bn` name the layers."""
    return layers.ReLU(name=f"{bn}.relu")(batch_norm(convolve(x, filters, kernel, stride=stride, name=conv), bn))


def up_conv_bn_relu(x: KerasTensor, skip: KerasTensor | None, filters: int, *, conv: str, bn: str) -> KerasTensor:
    """Upsample x twice, concatenate `skip`, convolve, batch norm, ReLU: (B, H, W, C) -> (B, 2H, 2W, filters)."""
    inputs = [x] if skip is None else [x, skip]
    return layers.ReLU(name=f"{bn}.relu")(batch_norm(UpConv2D(filters, name=conv)(inputs), bn))


def make_logits(x: KerasTensor, kernel: int, *, pixels: int = 1, name: str, bias: bool = True) -> KerasTensor:
    """Convolve to a logit a pixel, or for so many `pixels`: (B, H, W, C) -> (B, H, W, pixels)."""
    # A quarter of the pixels is salt: start from its log-odds.
    start = initializers.Constant(-1.1)
    return layers.Conv2D(pixels, kernel, padding="same", use_bias=bias, bias_initializer=start, name=name)(x)
