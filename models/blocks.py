"""The pieces that encoders and the decoder are built from; channels last throughout."""

from keras import KerasTensor, layers


def convolve(x: KerasTensor, filters: int, kernel: int, *, stride: int = 1, name: str) -> KerasTensor:
    """Convolution without bias: (B, H, W, C) -> (B, H / stride, W / stride, filters).

    Strided ones are padded alike on both sides, as PyTorch does: Keras' "same" is not, and would shift
    features (and pretrained weights) by half a pixel.
    """
    padding = "same"
    if stride > 1 and kernel > 1:
        x, padding = layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x), "valid"
    return layers.Conv2D(filters, kernel, stride, padding, use_bias=False, kernel_initializer="he_normal", name=name)(x)


def normalise(x: KerasTensor, name: str) -> KerasTensor:
    """Batch normalisation with ResNet's constants."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def conv_bn_relu(x: KerasTensor, filters: int, kernel: int = 3, *, stride: int = 1, conv: str, bn: str) -> KerasTensor:
    """Convolution, batch normalisation, ReLU; `conv` and `bn` name the layers."""
    return layers.ReLU(name=f"{bn}.relu")(normalise(convolve(x, filters, kernel, stride=stride, name=conv), bn))
