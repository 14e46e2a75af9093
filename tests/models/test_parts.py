"""Parts of a network: names, shapes, hand-computed numbers, no weight without a gradient."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.ring import SingleProcess
from models import PARTS, Part, blocks, make_model
from models.decoder import sum_logits, unet_decoder
from models.encoders import resnet as encoders
from models.losses import bce, loss_of_outputs
from models.randomness import step_random
from models.unet import MODELS, read_name
from tests.helpers.commands import refused
from tests.models.networks import OF_TINY, RESNET, SMALL, TINY, with_small


@pytest.fixture
def small(monkeypatch):
    with_small(monkeypatch)


# ---- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet43+scse", "no model 'resnet43'; choose from resnet34, "),
        ("tiny+foo", f"no part 'foo'; choose from {', '.join(OF_TINY)}"),
        ("tiny+", "no part ''"),
        ("resnet18+scse+scsee", f"no part 'scsee'; choose from {', '.join(PARTS)}"),
        ("tiny+nopool", f"tiny takes no part 'nopool'; choose from {', '.join(OF_TINY)}"),
        ("tiny+droppath", "tiny takes no part 'droppath'"),
        ("tiny+scse+scse", "each part once, in the order of the list: tiny+scse"),
        ("tiny+deep+scse", "each part once, in the order of the list: tiny+scse+deep"),
    ],
)
def test_names_that_do_not_go_are_refused(name, said):
    refused(lambda: make_model(name, 64), said)


def test_every_set_of_parts_has_one_name():
    for names in itertools.permutations(["scse", "dropout", "deep"]):
        text = "+".join(["tiny", *names])
        if names == ("scse", "dropout", "deep"):
            assert read_name(text) == (MODELS["tiny"], [PARTS[name] for name in names])
        else:
            refused(lambda text=text: read_name(text), "tiny+scse+dropout+deep")


# ---- shapes and gradients ------------------------------------------------------------------------------------


def check(name: str, *, mixed_precision: bool = False) -> None:
    """Forward and backward at 64 px: shapes, types, and a finite gradient that is not zero for every weight."""
    model = make_model(name, 64, mixed_precision=mixed_precision)
    images = tf.random.stateless_normal((2, 64, 64, 1), (1, 2))
    masks = tf.cast(images > 1, tf.float32)
    with step_random(1, tf.constant(0), 2, SingleProcess()), tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = tf.reduce_sum(loss_of_outputs(outputs, masks, bce))
    outputs = tf.nest.flatten(outputs)
    deepest = 16 if "nopool" in name else 32
    last = 2 if "subpixel" in name else 1
    count = 1 + (len([s for s in (2, 4, 8, 16) if last < s < deepest]) + 1) * ("deep" in name)
    assert [tuple(y.shape) for y in outputs] == [(2, 64, 64, 1), (2, 1), *[(2, 64, 64, 1)] * 4][:count]
    assert {y.dtype for y in outputs} == {tf.float32}
    assert {v.dtype for v in model.variables} == {"float32"}
    for weight, gradient in zip(
        model.trainable_variables, tape.gradient(loss, [v.value for v in model.trainable_variables]), strict=True
    ):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient).all(), weight.path
        assert np.any(gradient), weight.path


@pytest.mark.parametrize("name", [*(f"tiny+{part}" for part in OF_TINY), TINY])
def test_on_tiny(name):
    check(name)


@pytest.mark.parametrize("name", [f"small+{part}" for part in PARTS if part not in OF_TINY])
def test_on_a_resnet(small, name):
    check(name)


def test_on_efficientnet_lite():
    check("efficientnet_lite0+nopool+droppath")


def test_blocks_with_a_shortcut_are_left_out_by_their_depth():
    """EfficientNet-Lite0 has 16 blocks; the first of a stage has no shortcut, and the last of all neither."""
    layers = make_model("efficientnet_lite0+droppath", 32).layers
    rates = {layer.name: layer.rate for layer in layers if layer.name.endswith("drop_path")}
    with_shortcut = {"1.1": 3, "2.1": 5, "3.1": 7, "3.2": 8, "4.1": 10, "4.2": 11, "5.1": 13, "5.2": 14, "5.3": 15}
    by_hand = {f"encoder.blocks.{block}.drop_path": 0.2 * k / 16 for block, k in with_shortcut.items()}
    assert rates == pytest.approx(by_hand)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"resnet18+{part}" for part in PARTS), RESNET])
def test_on_resnet18(name):
    check(name)


def test_in_bfloat16(small):
    check(SMALL, mixed_precision=True)


def test_a_plain_name_has_no_part():
    assert len(make_model("tiny", 32).outputs) == 1
    names = {layer.name for layer in make_model("tiny", 32).layers}
    added = {layer.name for layer in make_model(TINY, 32).layers} - names
    assert {name.split(".")[0] for name in added} == {"decoder", "logits", "hypercolumn", "dropout", "deep"}
    assert all("scse" in name for name in added if name.startswith("decoder"))


def test_without_max_pool_layer_1_works_at_stride_2():
    with_pool, without = (encoders.resnet(keras.Input((64, 64, 1)), (1, 1, 1, 1), pool=pool) for pool in (True, False))
    assert {stride: f.shape[1:] for stride, f in with_pool.items()} == {
        2: (32, 32, 64), 4: (16, 16, 64), 8: (8, 8, 128), 16: (4, 4, 256), 32: (2, 2, 512)
    }  # fmt: skip
    assert {stride: f.shape[1:] for stride, f in without.items()} == {
        2: (32, 32, 64), 4: (16, 16, 128), 8: (8, 8, 256), 16: (4, 4, 512)
    }  # fmt: skip


@pytest.mark.parametrize("deepest", [4, 8, 16, 32])
def test_the_decoder_begins_at_the_largest_stride(deepest):
    features = {
        stride: keras.Input((64 // stride, 64 // stride, 3)) for stride in (2, 4, 8, 16, 32) if stride <= deepest
    }
    stages = unet_decoder(features, (16, 8, 4, 2, 1))
    expected = {16: 16, 8: 8, 4: 4, 2: 2, 1: 1}
    assert {stride: y.shape[1:] for stride, y in stages.items()} == {
        stride: (64 // stride, 64 // stride, filters) for stride, filters in expected.items() if stride < deepest
    }


# ---- by hand -------------------------------------------------------------------------------------------------


def test_scse_by_hand():
    image = keras.Input((2, 2, 2))
    model = keras.Model(image, PARTS["scse"].stage(image, "stage"))
    x = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 0]]], np.float32)  # means 4 and 3
    model.get_layer("stage.scse.squeeze").set_weights([np.array([[[[1], [-1]]]]), np.array([1])])  # 4 - 3 + 1 = 2
    model.get_layer("stage.scse.channel").set_weights([np.array([[[[0.5, -1]]]]), np.array([0, 1])])  # 1 and -1
    model.get_layer("stage.scse.space").set_weights([np.array([[[[1], [2]]]]), np.array([-3])])
    gate = 1 / (1 + np.exp(-np.array([[2, 8], [14, 4]])))  # x0 + 2 x1 - 3
    channel = 1 / (1 + np.exp(-np.array([1, -1])))
    assert model(x[None]).numpy()[0] == pytest.approx(x * channel + x * gate[..., None], rel=1e-5)


def test_hypercolumn_by_hand():
    """Logits of a coarse pixel pair 0 and 4, enlarged twice, are 0, 1, 3, 4: pixel centres, the outer ones kept."""
    fine, coarse = keras.Input((2, 4, 2)), keras.Input((1, 2, 1))
    model = keras.Model([fine, coarse], sum_logits(PARTS["hypercolumn"].tops({1: fine}, {2: coarse, 1: fine})))
    of_fine, of_coarse = np.zeros((3, 3, 2, 1)), np.zeros((3, 3, 1, 1))
    of_fine[1, 1, :, 0], of_coarse[1, 1] = (1, -10), 2
    model.get_layer("logits").set_weights([of_fine, np.array([0.5])])
    model.get_layer("hypercolumn.stride2").set_weights([of_coarse])
    own = np.arange(16, dtype=np.float32).reshape(1, 2, 4, 2)
    y = model([own, np.array([[[[0], [4]]]], np.float32)]).numpy()[0, ..., 0]
    expected = own[0, ..., 0] - 10 * own[0, ..., 1] + 0.5 + 2 * np.array([[0, 1, 3, 4]] * 2)
    assert y == pytest.approx(expected)


def test_subpixel_by_hand():
    """A pixel of value 3 and logits of weights 1, 2, 3, 4 and bias 0.5 makes 2 x 2 pixels, row by row."""
    image = keras.Input((1, 2, 1))
    model = keras.Model(image, sum_logits({2: image}))
    kernel = np.zeros((3, 3, 1, 4))
    kernel[1, 1, 0] = (1, 2, 3, 4)
    model.get_layer("logits").set_weights([kernel, np.full(4, 0.5)])
    y = model(np.array([[[[3], [-1]]]], np.float32)).numpy()[0, ..., 0]
    assert y == pytest.approx(np.array([[3, 6, -1, -2], [9, 12, -3, -4]]) + 0.5)
    assert blocks.DepthToSpace(2).compute_output_shape((None, 1, 2, 4)) == (None, 2, 4, 1)


def test_with_subpixel_the_decoder_ends_at_stride_2():
    features = {stride: keras.Input((64 // stride, 64 // stride, 3)) for stride in (2, 4, 8, 16, 32)}
    assert list(unet_decoder(features, (16, 8, 4, 2, 1), **PARTS["subpixel"].decoder())) == [16, 8, 4, 2]
    names = [{layer.name for layer in make_model(f"tiny{part}+deep", 32).layers} for part in ("", "+subpixel")]
    assert {name.rsplit(".", 1)[0] for name in names[0] - names[1]} == {"decoder.stride1", "decoder.stride1.bn1",
        "decoder.stride1.bn2", "deep", "deep.stride2"}  # fmt: skip
    assert names[1] - names[0] == {"logits.enlarge"}


@pytest.mark.parametrize("factor", [2, 8, 3])
def test_enlargement_is_bilinear(factor):
    x = tf.random.stateless_normal((2, 3, 5, 4), (1, 2))
    size = (3 * factor, 5 * factor)
    results = []
    for enlarge in (blocks.Enlarge(factor), lambda t: tf.image.resize(t, size, "bilinear")):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = enlarge(x)
            total = tf.reduce_sum(y * tf.random.stateless_normal(y.shape, (3, 4)))
        results.append([y.numpy(), tape.gradient(total, x).numpy()])
    for ours, theirs in zip(*results, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    assert blocks.Enlarge(factor).compute_output_shape(x.shape) == y.shape


def test_a_part_of_ones_own(monkeypatch):
    class Negative(Part):
        """Logits from the negative of the last stage."""

        def tops(self, tops, stages):
            return {1: keras.layers.Rescaling(-1.0, name="negative")(tops[1])}

    monkeypatch.setitem(PARTS, "negative", Negative())
    model = make_model("tiny+negative", 32)
    assert model.get_layer("logits").input.name == model.get_layer("negative").output.name
    assert model.name == "tiny.negative"
