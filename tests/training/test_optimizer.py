"""AdamW: Keras' own as the reference, and which weights decay."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import make_model
from training.optimizer import AdamW


@pytest.mark.parametrize("xla", [False, True])
def test_it_steps_as_keras_does(xla):
    draw = np.random.default_rng(1).normal
    start = [draw(size=shape).astype(np.float32) for shape in ((3, 3, 4, 2), (2,))]
    gradients = [[tf.constant(draw(size=value.shape), tf.float32) for value in start] for _ in range(4)]
    schedule = keras.optimizers.schedules.CosineDecay(0.0, decay_steps=8, warmup_target=0.1, warmup_steps=2)

    theirs = [keras.Variable(value) for value in start]
    reference = keras.optimizers.AdamW(schedule, weight_decay=0.05)
    reference.exclude_from_weight_decay([theirs[1]])
    reference.build(theirs)
    ours = [tf.Variable(value) for value in start]
    optimizer = AdamW(ours, schedule, weight_decay=0.05)
    apply = tf.function(optimizer.apply, jit_compile=xla)
    for step, each in enumerate(gradients):
        reference.apply(each, theirs)
        apply(each, tf.constant(step))
        for a, b in zip(ours, theirs, strict=True):
            assert a.numpy() == pytest.approx(b.numpy(), rel=1e-5, abs=1e-5)
    assert not np.allclose(ours[1].numpy(), start[1], atol=0.01)


def test_a_weight_can_have_a_share_of_the_rate():
    start, gradient = np.ones((2, 2), np.float32), tf.constant([[1.0, -2.0], [3.0, 0.5]])

    def stepped(rate: float, **kwargs) -> np.ndarray:
        weight = tf.Variable(start)
        AdamW([weight], lambda step: rate, weight_decay=0.5, **kwargs).apply([gradient], tf.constant(0))
        return weight.numpy()

    assert np.allclose(stepped(0.1, shares=[0.25]), stepped(0.025), atol=1e-7)
    assert np.array_equal(stepped(0.1, shares=[0.0]), start)


def test_only_kernels_decay():
    """With no gradient a weight moves by its decay alone: kernels shrink to (1 - 0.1 * 0.5) of what they were."""
    net = make_model("tiny", 32)
    weights = [v.value for v in net.trainable_variables]
    for weight in weights:
        weight.assign(tf.ones_like(weight))
    AdamW(weights, lambda step: 0.1, weight_decay=0.5).apply([tf.zeros_like(w) for w in weights], tf.constant(0))
    shrunk = {v.path.rsplit("/", 1)[-1] for v in net.trainable_variables if np.allclose(v, 0.95)}
    same = {v.path.rsplit("/", 1)[-1] for v in net.trainable_variables if np.allclose(v, 1.0)}
    assert (shrunk, same) == ({"kernel"}, {"gamma", "beta", "bias"})
