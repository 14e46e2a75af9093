"""The floor of a training step: counted by hand on small nets, and against two other counts of ResNet-34."""

import pytest

from benchmarks.floor import PROTOTYPE, Pass, floor, main, passes, rows
from benchmarks.peaks import H100, Machine
from models import make_model


def net(shape, build):
    """A network of the layers that `build` adds to an input of `shape`."""
    import keras

    image = keras.Input(shape)
    return keras.Model(image, build(image))


def small():
    """Convolution, normalisation, ReLU, convolution, on 8 x 8 pixels."""
    from keras import layers

    def build(x):
        x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="first")(x)
        return layers.Conv2D(1, 1, name="second")(layers.ReLU()(layers.BatchNormalization()(x)))

    return net((8, 8, 1), build)


def test_one_convolution():
    from keras import layers

    model = net((8, 8, 3), layers.Conv2D(5, 3, padding="same", name="conv"))
    assert passes(model) == [
        Pass("conv", 2 * 320 * 27, 192 + 320, 4 * 140),
        # No gradient of the image: the weights' alone, from the image and the gradient of the output.
        Pass("conv, backward", 2 * 320 * 27, 192 + 320, 4 * 140),
        Pass("update", 0, 0, 4 * 9 * 140),
    ]


def test_normalisation_and_relu_cost_one_more_reading_backward():
    assert passes(small()) == [
        Pass("first", 2 * 256 * 9, 64 + 256, 4 * 36),
        Pass("first, backward", 2 * 256 * 9, 64 + 256 + 256, 4 * 36),  # image, output again, its gradient
        Pass("second", 2 * 64 * 4, 256 + 64, 4 * 5),
        Pass("second, backward", 2 * 2 * 64 * 4, 256 + 64 + 256, 2 * 4 * 5),  # input, gradients of output and input
        Pass("update", 0, 0, 4 * (7 * (36 + 8 + 5) + 2 * (36 + 16 + 5))),
    ]


def test_residual_block():
    """All tensors have 32 elements. The shortcut has two readers, hence two parts of its gradient."""
    from keras import layers

    def build(x):
        x = layers.Conv2D(2, 1, name="before")(x)
        y = layers.BatchNormalization()(layers.Conv2D(2, 1, name="inside")(x))
        return layers.Conv2D(2, 1, name="after")(layers.ReLU()(layers.Add(name="add")([y, x])))

    elements = {part.name: part.elements for part in passes(net((4, 4, 2), build))}
    assert elements["add"] == 3 * 32
    assert elements["add, backward"] == 4 * 32  # normalised term, output, its gradient; one gradient for both terms
    assert elements["before, backward"] == 3 * 32
    assert elements["inside, backward"] == 4 * 32


def test_a_depthwise_convolution_multiplies_within_its_channel():
    from models.blocks import DepthwiseConv2D

    model = net((8, 8, 3), DepthwiseConv2D(5, 2, name="depthwise"))
    assert passes(model)[0] == Pass("depthwise", 2 * 4 * 4 * 3 * 25, 192 + 48, 4 * 3 * 25)


def test_upsampling_and_concatenation_are_computed_while_reading():
    from keras import layers

    def build(x):
        x = layers.Conv2D(3, 1, name="wide")(x)
        up = layers.UpSampling2D(2)(layers.MaxPooling2D(2, name="pool")(x))
        return layers.Conv2D(1, 1, name="last")(layers.Concatenate()([up, x]))

    found = {part.name: part for part in passes(net((4, 4, 1), build))}
    assert found["pool"].elements == 48 + 12
    assert found["pool, backward"].elements == 48 + 12 + 48
    assert (found["last"].operations, found["last"].elements) == (2 * 16 * 6, 12 + 48 + 16)


def up(side: int, join: bool):
    """Convolution, UpConv2D of it, joined by a skip of 2 channels or not, cast."""
    import keras
    from keras import layers

    from models.blocks import UpConv2D

    image, skip = keras.Input((side, side, 1)), keras.Input((2 * side, 2 * side, 1))
    inputs = [layers.Conv2D(3, 1, name="small")(image), layers.Conv2D(2, 1, name="skip")(skip)][: 1 + join]
    last = layers.Activation("linear", dtype="float32")(UpConv2D(4, name="up")(inputs))
    return keras.Model([image, skip][: 1 + join], last)


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("side", [2, 4])
def test_up_convolution(side, join):
    """Nine multiplications for each channel of the enlarged 3 and the skip's 2; four, not nine, from 4 pixels on."""
    output, read, channels = 4 * side**2 * 4, side**2 * 3 + 4 * side**2 * 2 * join, 3 + 2 * join
    enlarged = 4 * 3 if side == 4 else 9 * 3
    for classic, multiplications in ((False, enlarged + 9 * 2 * join), (True, 9 * channels)):
        found = {part.name: part for part in passes(up(side, join), classic=classic)}
        operations, weights = 2 * output * multiplications, 4 * 9 * channels * 4
        assert found["up"] == Pass("up", operations, read + output, weights)
        # Its inputs again and the gradient of its output; gradients of inputs and weights.
        assert found["up, backward"] == Pass("up, backward", 2 * operations, read + output + read, 2 * weights)


def test_classic_count_is_that_of_an_enlarged_and_joined_input():
    from keras import layers

    def build(x):
        x = layers.Conv2D(3, 1, name="small")(x)
        return layers.Conv2D(4, 3, padding="same", use_bias=False, name="up")(layers.UpSampling2D(2)(x))

    assert passes(net((16, 16, 1), build)) == passes(up(16, join=False), classic=True)


def test_a_pass_takes_what_is_longer():
    machine = Machine({"float32": 1000, "bfloat16": 2000}, bandwidth=400)
    found = floor(small(), 2, "float32", machine)
    computing = 2 * 4608 / 1000  # against (2 * 320 * 4 + 144) / 400 = 6.76; the other passes wait for memory
    moving = [2 * 576 * 4 + 144, 2 * 320 * 4 + 20, 2 * 576 * 4 + 40, 1828]
    assert found.seconds == pytest.approx(computing + sum(moving) / 400)
    assert found.compute_bound == pytest.approx(computing / found.seconds)
    assert found.operations == 2 * (2 * 4608 + 512 + 1024)
    assert found.bytes == 2 * 320 * 4 + 144 + sum(moving)
    assert found.speed == pytest.approx(2 / found.seconds)
    assert floor(small(), 2, "bfloat16", machine).bytes == found.bytes - 2 * 2 * (320 + 576 + 320 + 576)


def test_unknown_layers_are_not_guessed():
    from keras import layers

    with pytest.raises(TypeError, match="'odd', a GlobalAveragePooling2D"):
        passes(net((4, 4, 1), layers.GlobalAveragePooling2D(name="odd")))


@pytest.fixture(scope="module")
def resnet34():
    """ResNet-34's U-Net at ImageNet's size."""
    return make_model("resnet34", 224)


CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput")  # the last: transposed


def profiled(model, *sizes) -> int:
    """Operations of the convolutions of one image, forward, by TensorFlow's profiler; `sizes`: of the inputs."""
    import tensorflow as tf
    from tensorflow.compat.v1 import profiler

    inputs = [tf.TensorSpec((1, size, size, 1)) for size in sizes]
    graph = tf.function(lambda *x: model(list(x) if len(x) > 1 else x[0])).get_concrete_function(*inputs).graph
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output()
    profile = profiler.profile(graph, cmd="op", options=options.build())
    convolutions, found = 0, list(profile.children)
    while found:
        node = found.pop()
        found += node.children
        convolutions += node.float_ops if node.name in CONVOLUTIONS else 0
    return convolutions


def forward_operations(model) -> int:
    return sum(part.operations for part in passes(model) if not part.name.endswith("backward"))


@pytest.mark.parametrize("side", [2, 4])
def test_up_convolution_has_the_operations_of_tensorflows_profiler(side):
    model = up(side, join=True)
    assert forward_operations(model) == profiled(model, side, 2 * side) > 0


def test_forward_operations_are_those_of_tensorflows_profiler(resnet34):
    assert forward_operations(resnet34) == profiled(resnet34, 224) > 0


def test_those_of_a_light_network_too():
    model = make_model("efficientnet_lite0", 64)
    assert forward_operations(model) == profiled(model, 64) > 0


def test_encoder_has_the_published_multiply_adds(resnet34):
    """torchvision gives 3.664 G for its ResNet-34: with a classifier (512 x 1000) and two more channels of the stem."""
    found = sum(p.operations for p in passes(resnet34) if p.name.startswith("encoder") and "backward" not in p.name)
    assert found / 2 + 512 * 1000 + 2 * 112 * 112 * 64 * 49 == pytest.approx(3.664e9, abs=0.0005e9)


def test_rows_hold_a_value_a_round():
    table = rows(2, tiny=True)
    assert [row.unit for row in table[:3]] == ["GFLOP/s", "GFLOP/s", "GB/s"]
    assert {row.unit for row in table[3:]} == {"images/s"}
    assert all(len(row.values) == 2 and min(row.values) > 0 for row in table)


def test_published_floor_is_above_what_was_measured(capsys):
    """A measurement that beats the floor would mean that the floor counts too much."""
    model = make_model("resnet34", 128)
    for batch, measured in PROTOTYPE.items():
        classic, ours = (floor(model, batch, "bfloat16", H100, classic=classic) for classic in (True, False))
        assert measured < classic.speed < ours.speed
        assert classic.bytes == ours.bytes
    assert len(main(["--published"]).splitlines()) == 2 + len(PROTOTYPE)
    assert capsys.readouterr().out.startswith("resnet34: ")
