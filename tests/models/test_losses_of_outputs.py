"""The loss of all that a network puts out, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from models.losses import COARSE, SALT, loss_of_outputs, make_loss


def squares(*, logits, masks):
    """A loss to compute by hand."""
    return tf.reduce_mean((logits - masks) ** 2, axis=(1, 2, 3))


def planes(*values: float) -> tf.Tensor:
    return tf.constant(values)[:, None, None, None] * tf.ones((1, 2, 2, 1))


def test_loss_of_heads_by_hand():
    masks = np.zeros((2, 2, 2, 1), np.float32)
    masks[0, 0, 1] = 1  # tile 0 has a pixel of salt, tile 1 none
    outputs = [planes(0.0, 2.0), tf.constant([[0.0], [np.log(3.0)]]), planes(0.0, 7.0), planes(2.0, 9.0)]
    coarse = (1 / 4 + (3 * 4 + 1) / 4) / 2  # of tile 0: of zeros, and of twos
    by_hand = [1 / 4 + COARSE * coarse + SALT * np.log(2), 4 + SALT * np.log(4)]  # -log(1/2), -log(1 - 3/4)
    assert loss_of_outputs(outputs, tf.constant(masks), squares).numpy() == pytest.approx(by_hand, rel=1e-5)
    assert (COARSE, SALT) == (0.1, 0.05)


def test_logits_alone_are_charged_as_they_are():
    masks = planes(1.0, 0.0)
    for outputs in (planes(3.0, 1.0), [planes(3.0, 1.0)]):
        assert loss_of_outputs(outputs, masks, squares).numpy() == pytest.approx([4, 1])


@pytest.mark.parametrize("name", ["bce", "bce+dice", "lovasz_symmetric"])
def test_a_batch_without_salt_teaches_no_coarse_head_and_nothing_but_numbers(name):
    outputs = [planes(1.0, -2.0), tf.constant([[1.0], [-1.0]]), planes(3.0, 4.0)]
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = tf.reduce_mean(loss_of_outputs(outputs, tf.zeros((2, 2, 2, 1)), make_loss(name)))
    gradients = [g.numpy() for g in tape.gradient(loss, outputs)]
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() for g in gradients)
    assert [bool(g.any()) for g in gradients] == [True, True, False]
