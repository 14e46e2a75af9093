"""Networks: shapes, gradients, features at every stride, sizes known from the paper."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.errors import InputError
from models import MODELS, blocks, make_model
from models.encoders import efficientnet
from models.encoders.efficientnet import inverted_residual

QUICK = {"resnet18", "seresnet18", "efficientnet_lite0", "tiny"}  # a network of each kind, but for the slow Keras ones
EACH = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in MODELS]


@pytest.mark.parametrize("name", EACH)
def test_forward_and_backward_and_what_the_list_says(name):
    model = make_model(name, 64)
    images = tf.random.stateless_normal((1, 64, 64, 1), (1, 2))
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(logits**2)
    assert logits.shape == (1, 64, 64, 1)
    assert logits.dtype == tf.float32
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(g is not None and np.isfinite(g.numpy()).all() for g in gradients)
    assert MODELS[name].about.startswith(f"{model.count_params() / 1e6:.1f} M parameters")
    assert {v.dtype for v in model.variables} == {"float32"}  # no state of a random generator, which is uint32
    parts = ("image", "encoder.", "decoder.", "logits", "float32")
    assert all(layer.name.startswith(parts) for layer in model.layers)


WIDTHS = {  # of what timm and Keras call the features' ends
    "efficientnet_lite0": [16, 24, 40, 112, 320],
    "efficientnet_lite1": [16, 24, 40, 112, 320],
    "efficientnet_lite2": [16, 24, 48, 120, 352],
    "efficientnetv2_b0": [16, 32, 48, 112, 192],
    "efficientnetv2_b1": [16, 32, 48, 112, 192],
    "efficientnetv2_b2": [16, 32, 56, 120, 208],
    "efficientnetv2_b3": [16, 40, 56, 136, 232],
    "tiny": [16, 24, 32, 64, 96],
}


LARGER = [f"efficientnetv2_b{k}" for k in (1, 2, 3)]  # Keras takes seconds to build one


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LARGER else []) for n in MODELS])
def test_features_at_strides_2_to_32_highest_resolution_first(name):
    features = MODELS[name].encoder(keras.Input((96, 96, 1)))
    assert list(features) == [2, 4, 8, 16, 32]
    for stride, feature in features.items():
        assert feature.shape[1:3] == (96 // stride, 96 // stride)
    resnets = [64, 256, 512, 1024, 2048] if "50" in name else [64, 64, 128, 256, 512]
    assert [feature.shape[-1] for feature in features.values()] == WIDTHS.get(name, resnets)


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_without_its_pooling_a_resnet_has_each_stage_at_half_the_stride(name):
    image = keras.Input((64, 64, 1))
    with_it, without = MODELS[name].encoder(image), MODELS[name].encoder(image, pool=False)
    assert list(without) == [2, 4, 8, 16]
    for stride, feature in without.items():
        assert feature.shape == (None, 64 // stride, 64 // stride, with_it[2 * stride].shape[-1])
    assert not [layer for layer in keras.Model(image, list(without.values())).layers if "maxpool" in layer.name]


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_depthwise_convolutions_learn_under_xla_and_in_bfloat16(xla, policy):
    """A block of EfficientNet-Lite with a 5x5 kernel and stride 2, against float32 without XLA."""

    def gradients(policy, xla):
        keras.utils.set_random_seed(1)
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        image = keras.Input((16, 16, 8))
        block = keras.Model(image, inverted_residual(image, 16, 4, "encoder.block", kernel=5, stride=2))
        keras.config.set_dtype_policy(before)

        @tf.function(jit_compile=xla)
        def run(x, wanted):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.cast(block(x, training=True), tf.float32) * wanted)
            return tape.gradient(loss, block.get_layer("encoder.block.conv_dw").kernel.value)

        normal = np.random.default_rng(1).standard_normal
        return run(normal((4, 16, 16, 8), np.float32), normal((4, 8, 8, 16), np.float32)).numpy()

    expected = gradients("float32", False)
    error = np.abs(gradients(policy, xla) - expected).max() / np.abs(expected).max()
    assert error < (1e-4 if policy == "float32" else 0.25)  # 8 bits, summed over what cancels; of a wrong one 1


@pytest.mark.parametrize(
    ("name", "published"), [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)]
)
def test_resnet_encoders_have_the_published_size(name, published):
    """Parameters of torchvision's ResNets, less the classifier (1000 x channels + 1000) and the stem's colours."""
    image = keras.Input((32, 32, 1))
    model = keras.Model(image, MODELS[name].encoder(image))
    weights = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    channels = 2048 if name == "resnet50" else 512
    assert weights == published - (channels * 1000 + 1000) - 2 * 64 * 7 * 7


def test_mixed_precision_keeps_variables_and_logits_in_float32():
    before = keras.config.dtype_policy().name
    model = make_model("tiny", 32, mixed_precision=True)
    assert keras.config.dtype_policy().name == before
    assert {v.dtype for v in model.variables} == {"float32"}
    assert model(tf.zeros((1, 32, 32, 1))).dtype == tf.float32
    assert model.get_layer("encoder.stride2.conv1").compute_dtype == "bfloat16"


def test_a_strided_convolution_sees_left_and_right_alike():
    """With a symmetric kernel, mirroring an input of odd size mirrors the output."""
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
    [("resnet43", 64, "choose from resnet34, "), ("tiny", 100, "multiple of 32")],
)
def test_wrong_names_and_sizes(name, size, said):
    with pytest.raises(InputError, match=said):
        make_model(name, size)


def test_a_network_is_the_same_under_another_data_format():
    """As a keras.json in one's home may say, for a notebook."""
    keras.config.set_image_data_format("channels_first")
    try:
        shapes = [variable.shape for variable in make_model("resnet18+scse+hypercolumn", 32).variables]
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")
    assert shapes == [variable.shape for variable in make_model("resnet18+scse+hypercolumn", 32).variables]


def test_a_weights_file_does_not_know_our_layers_from_those_of_keras(monkeypatch, tmp_path):
    """So that files outlive a layer that is computed in another way: Keras calls a layer in them by its class."""
    net, path = make_model("efficientnet_lite0", 32), tmp_path / "ours.weights.h5"
    net.save_weights(path)
    depthwise = partial(keras.layers.DepthwiseConv2D, padding="same", use_bias=False)
    monkeypatch.setattr(blocks, "BatchNormalization", keras.layers.BatchNormalization)
    monkeypatch.setattr(efficientnet, "Conv2D", keras.layers.Conv2D)
    monkeypatch.setattr(efficientnet, "DepthwiseConv2D", depthwise)
    plain = make_model("efficientnet_lite0", 32)
    plain.load_weights(path)
    images = tf.random.stateless_normal((2, 32, 32, 1), (1, 2))
    assert plain(images).numpy() == pytest.approx(net(images).numpy(), rel=1e-4, abs=1e-4)
