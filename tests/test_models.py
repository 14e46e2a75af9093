"""Networks: shapes, gradients, features at every stride, sizes known from the paper."""

import numpy as np
import pytest
import tensorflow as tf

from data.errors import InputError
from models import MODELS, make_model


@pytest.mark.parametrize("name", MODELS)
def test_forward_and_backward(name):
    model = make_model(name, 64)
    images = tf.random.stateless_normal((1, 64, 64, 1), (1, 2))
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(logits**2)
    assert logits.shape == (1, 64, 64, 1)
    assert logits.dtype == tf.float32
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(g is not None and np.isfinite(g.numpy()).all() for g in gradients)


@pytest.mark.parametrize("name", MODELS)
def test_features_at_strides_2_to_32_highest_resolution_first(name):
    import keras

    features = MODELS[name].encoder(keras.Input((96, 96, 1)))
    assert list(features) == [2, 4, 8, 16, 32]
    for stride, feature in features.items():
        assert feature.shape[1:3] == (96 // stride, 96 // stride)


@pytest.mark.parametrize(("name", "published"), [("resnet18", 11_689_512), ("resnet34", 21_797_672)])
def test_resnet_encoders_have_the_published_size(name, published):
    """Parameters of torchvision's ResNets, less the classifier (512 x 1000 + 1000) and two channels of the stem."""
    model = make_model(name, 32)
    layers = [layer for layer in model.layers if layer.name.startswith("encoder.")]
    weights = sum(int(np.prod(v.shape)) for layer in layers for v in layer.trainable_variables)
    assert weights == published - (512 * 1000 + 1000) - 2 * 64 * 7 * 7


def test_mixed_precision_keeps_variables_and_logits_in_float32():
    import keras

    before = keras.config.dtype_policy().name
    model = make_model("tiny", 32, mixed_precision=True)
    assert keras.config.dtype_policy().name == before
    assert {v.dtype for v in model.variables} == {"float32"}
    assert model(tf.zeros((1, 32, 32, 1))).dtype == tf.float32
    assert model.get_layer("encoder.stride2.conv1").compute_dtype == "bfloat16"


def test_a_strided_convolution_sees_left_and_right_alike():
    """With a symmetric kernel, mirroring an input of odd size mirrors the output."""
    import keras

    from models.blocks import convolve

    image = keras.Input((9, 9, 1))
    model = keras.Model(image, convolve(image, 1, 3, stride=2, name="c"))
    model.get_layer("c").set_weights([np.ones((3, 3, 1, 1), np.float32)])
    x = np.random.default_rng(0).normal(size=(1, 9, 9, 1)).astype(np.float32)
    assert np.allclose(model(x[:, :, ::-1])[:, :, ::-1], model(x), atol=1e-5)
    # PyTorch's arithmetic on an even size: output 0 is centred on pixel 0, so a step of ones there sums 4 pixels.
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, convolve(image, 1, 3, stride=2, name="c"))
    model.get_layer("c").set_weights([np.ones((3, 3, 1, 1), np.float32)])
    assert float(model(np.ones((1, 8, 8, 1), np.float32))[0, 0, 0, 0]) == 4.0


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [("resnet43", 64, "choose from resnet18, resnet34, tiny"), ("tiny", 100, "multiple of 32")],
)
def test_wrong_names_and_sizes(name, size, said):
    with pytest.raises(InputError, match=said):
        make_model(name, size)
