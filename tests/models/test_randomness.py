"""Chance in the training step: a function of seed, step and stream; shared out over a ring; silent outside of it."""

import numpy as np
import pytest
import tensorflow as tf

from common.ring import SingleProcess
from models import make_model
from models.randomness import DropPath, SpatialDropout, step_random


def rank_of(rank: int, size: int) -> SingleProcess:
    ring = SingleProcess()
    ring.rank, ring.size = rank, size
    return ring


def drawn(*, seed=1, step=0, batch=6, ring=None, stream="", shape=(5,)) -> np.ndarray:
    with step_random(seed, tf.constant(step), batch, ring or SingleProcess()) as source:
        return source.draw(shape, stream).numpy()


def test_equal_seeds_steps_and_streams_repeat_and_others_differ():
    numbers = drawn()
    assert numbers.shape == (6, 5)
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.array_equal(numbers, drawn())
    for other in ({"seed": 2}, {"step": 1}, {"stream": "a"}):
        assert not np.isin(drawn(**other), numbers).any()
    assert not np.isin(drawn(stream="a"), drawn(stream="b")).any()
    assert drawn(seed=2**31 - 1, stream="layer").shape == (6, 5)  # the largest seed fits


def test_a_ring_draws_as_one_process_with_all_its_tiles():
    parts = [drawn(batch=2, ring=rank_of(rank, 3), stream="a") for rank in range(3)]
    assert np.array_equal(np.concatenate(parts), drawn(stream="a"))


def test_xla_draws_the_same():
    @tf.function(jit_compile=True, autograph=False)
    def compiled(step):
        with step_random(7, step, 6, SingleProcess()) as source:
            return source.draw((5,), "a")

    assert np.array_equal(compiled(tf.constant(3)), drawn(seed=7, step=3, stream="a"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels", [True, False])
def test_whole_channels_or_whole_tiles_go_and_the_mean_stays(channels, dtype):
    x = tf.ones((64, 3, 2, 40), dtype)
    kind = SpatialDropout if channels else DropPath
    layer = kind(0.2, name="layer", dtype="mixed_bfloat16" if dtype == "bfloat16" else dtype)
    with step_random(1, tf.constant(0), 64, SingleProcess()) as source:
        y = layer(x, training=True)
        kept = source.draw((1, 1, 40 if channels else 1), "layer").numpy() >= 0.2
        other = kind(0.2, name="other", dtype=layer.dtype_policy)(x, training=True)
    assert y.dtype == x.dtype
    y, other = (tf.cast(t, tf.float32).numpy() for t in (y, other))
    assert np.array_equal(y, np.broadcast_to(kept * np.float32(1.25), y.shape))
    assert y.mean() == pytest.approx(1, abs=0.05 if channels else 0.25)
    assert not np.array_equal(y, other)  # each layer has a stream of its own


def test_nothing_is_dropped_outside_of_training():
    x, layer = tf.ones((2, 4, 4, 8)), SpatialDropout(0.5, name="layer")
    assert np.array_equal(layer(x, training=True), x)  # no source
    with step_random(1, tf.constant(0), 2, SingleProcess()):
        assert np.array_equal(layer(x, training=False), x)
        assert not np.array_equal(layer(x, training=True), x)
    assert np.array_equal(layer(x, training=True), x)  # closed again


def test_a_source_closes_when_a_step_fails():
    with pytest.raises(ZeroDivisionError), step_random(1, tf.constant(0), 2, SingleProcess()):
        raise ZeroDivisionError
    assert np.array_equal(SpatialDropout(0.5)(tf.ones((2, 4, 4, 8)), training=True), tf.ones((2, 4, 4, 8)))


def test_stochastic_depth_grows_linearly_to_a_fifth():
    layers = [layer for layer in make_model("resnet18+droppath", 32).layers if isinstance(layer, DropPath)]
    assert [layer.rate for layer in layers] == pytest.approx([0.2 * k / 8 for k in range(1, 9)])


def test_a_block_left_out_is_its_shortcut():
    """resnet18's last block is plain: where it is dropped, its output is the ReLU of its input, the input itself."""
    import keras

    model = make_model("resnet18+droppath", 32)
    ends = [model.get_layer(f"encoder.layer4.{k}.relu").output for k in (0, 1)]
    images = tf.random.stateless_normal((64, 32, 32, 1), (1, 2))
    with step_random(1, tf.constant(0), 64, SingleProcess()) as source:
        before, after = keras.Model(model.inputs[0], ends)(images, training=True)
        dropped = source.draw((1, 1, 1), "encoder.layer4.1.drop_path").numpy().ravel() < 0.2
    same = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == list(dropped)
    assert 0 < sum(same) < 64
