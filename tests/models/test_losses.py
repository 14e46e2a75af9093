"""Losses by hand-computed cases, against the definition, and where masks are empty or full."""

import numpy as np
import pytest
import tensorflow as tf

from common.errors import InputError
from models.losses import LOSSES, make_loss


def batch(*rows: list[float]) -> tf.Tensor:
    """Rows as images (B, 1, W, 1)."""
    return tf.constant(rows, tf.float32)[:, None, :, None]


def value(name: str, logits: list[float], masks: list[float]) -> float:
    return float(make_loss(name)(logits=batch(logits), masks=batch(masks))[0])


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def test_bce_by_hand():
    assert value("bce", [0, 0], [0, 1]) == pytest.approx(np.log(2))
    assert value("bce", [2, 0], [1, 0]) == pytest.approx((-np.log(sigmoid(2)) + np.log(2)) / 2)


def test_dice_by_hand():
    # 1 - (2 * 0.5 + 1) / (1 + 1 + 1) at logits 0 on two pixels, one of them salt
    assert value("dice", [0, 0], [0, 1]) == pytest.approx(1 / 3)
    assert value("dice", [-99, -99], [0, 0]) == pytest.approx(0)  # both empty: right, not 0 overlap
    assert value("dice", [99, -99], [1, 0]) == pytest.approx(0)
    assert value("dice", [-99, 99], [1, 0]) == pytest.approx(1 - 1 / 3)


def test_lovasz_by_hand():
    # Errors 1 - logit * sign: salt pixel 1.5, background pixel 0.5. Sorted: salt first, 1 - IoU 1, then 1: steps 1, 0.
    assert value("lovasz", [-0.5, -0.5], [1, 0]) == pytest.approx(1.5)
    # Background wrong first (error 3): 1 - IoU = 1/2, then the salt pixel (error 1): 1/2 more.
    assert value("lovasz", [0, 2], [1, 0]) == pytest.approx(3 / 2 + 1 / 2)
    assert value("lovasz", [2, -2], [1, 0]) == 0  # right with a margin
    # elu(-1) + 1 = 1/e for both, steps 1 and 0
    assert value("lovasz_elu", [2, -2], [1, 0]) == pytest.approx(np.exp(-1))
    # Of salt as above; of the background the roles change: steps 1, 0 again
    assert value("lovasz_symmetric", [2, -2], [1, 0]) == pytest.approx(np.exp(-1))


def lovasz_by_definition(logits: np.ndarray, masks: np.ndarray) -> float:
    """The Lovász extension of the set function 1 - IoU of the wrong pixels, term by term."""
    errors = 1 - logits * (2 * masks - 1)
    order = np.argsort(-errors, kind="stable")
    total, previous, wrong = 0.0, 0.0, set()
    salt = set(np.flatnonzero(masks))
    for i in order:
        wrong.add(i)
        predicted = salt ^ wrong  # flip the wrong pixels
        union = salt | predicted
        jaccard = 1 - len(salt & predicted) / len(union) if union else 0.0
        total += max(errors[i], 0) * (jaccard - previous)
        previous = jaccard
    return total


def test_lovasz_against_the_definition():
    rng = np.random.default_rng(0)
    for density in (0.0, 0.1, 0.5, 0.9, 1.0):
        logits = rng.normal(size=(4, 12)).astype(np.float32)
        masks = (rng.random((4, 12)) < density).astype(np.float32)
        got = LOSSES["lovasz"].function(
            logits=tf.constant(logits[:, None, :, None]), masks=tf.constant(masks[:, None, :, None])
        )
        assert got.numpy() == pytest.approx([lovasz_by_definition(x, m) for x, m in zip(logits, masks, strict=True)])


def gradient(name: str, logits: np.ndarray, masks: np.ndarray) -> np.ndarray:
    logits = tf.Variable(batch(*logits))
    with tf.GradientTape() as tape:
        loss = LOSSES[name].function(logits=logits, masks=batch(*masks))
    return tape.gradient(loss, logits).numpy()[:, 0, :, 0]


def test_pixels_that_are_as_wrong_as_each_other_share_a_step():
    # Error 1 of both. The salt first: steps 1 and 0; the background first: 1/2 and 1/2. The mean of both orders.
    assert gradient("lovasz", [[0, 0]], [[1, 0]])[0] == pytest.approx([-0.75, 0.25])
    # Two of the salt, one of the background: 1/2 each and 0, or 1/3 of what the background leaves, 2/3, and 1/3.
    assert gradient("lovasz", [[0, 0, 0]], [[1, 0, 1]])[0] == pytest.approx([-5 / 12, 1 / 6, -5 / 12])
    assert gradient("lovasz", [[0, 0, 0, 0]], [[0] * 4])[0] == pytest.approx([0.25] * 4)
    assert value("lovasz", [0, 0, 0], [1, 0, 1]) == pytest.approx(1)  # the greatest 1 - IoU times the one error


@pytest.mark.parametrize("density", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("scale", [0.3, 5, 200])
def test_counted_in_bins_it_is_what_sorting_gives(density, scale):
    """For 64 x 64 pixels, value and gradient; up to errors of 920, where the bins end."""
    rng = np.random.default_rng(3)
    logits = (scale * rng.normal(size=4096)).astype(np.float32)
    masks = (rng.random(4096) < density).astype(np.float32)
    signs = 2 * masks - 1
    order = np.argsort(-(1 - logits * signs))
    missed, added = np.cumsum(masks[order]), np.cumsum(1 - masks[order])
    steps = np.empty(4096)
    steps[order] = np.diff((missed + added) / (masks.sum() + added), prepend=0)
    errors = 1 - logits * signs
    assert value("lovasz", logits, masks) == pytest.approx(np.sum(np.maximum(errors, 0) * steps), rel=1e-4)
    found = gradient("lovasz", [logits], [masks])[0]
    sorted_ = np.where(errors > 0, -signs * steps, 0)
    assert np.linalg.norm(found - sorted_) < 0.02 * np.linalg.norm(sorted_)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("salt", [0.0, 0.3, 1.0], ids=["empty", "mixed", "full"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 50.0, 1e5])
def test_losses_and_gradients_are_finite(name, salt, scale):
    rng = np.random.default_rng(1)
    logits = tf.Variable(scale * rng.normal(size=(2, 8, 8, 1)), dtype=tf.float32)
    masks = tf.constant(rng.random((2, 8, 8, 1)) < salt, tf.float32)
    with tf.GradientTape() as tape:
        loss = LOSSES[name].function(logits=logits, masks=masks)
    gradient = tape.gradient(loss, logits).numpy()
    assert loss.shape == (2,)
    assert np.isfinite(loss.numpy()).all()
    assert np.isfinite(gradient).all()
    if scale == 0:
        assert np.abs(gradient).max() > 0  # something to learn from, on empty and full masks too


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("mask", [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
def test_a_good_prediction_costs_less_than_a_bad_one(name, mask):
    good = [2.0 if salt else -2.0 for salt in mask]
    bad = [-x for x in good]
    assert value(name, good, mask) < value(name, [0.0] * 4, mask) < value(name, bad, mask)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_per_image(name):
    rng = np.random.default_rng(2)
    logits, masks = rng.normal(size=(5, 6)).tolist(), (rng.random((5, 6)) < 0.4).astype(float).tolist()
    together = make_loss(name)(logits=batch(*logits), masks=batch(*masks)).numpy()
    alone = [value(name, x, m) for x, m in zip(logits, masks, strict=True)]
    assert together == pytest.approx(alone, rel=1e-5)


def test_symmetric_lovasz_does_not_tell_salt_from_background():
    logits, masks = [0.3, -1.2, 2.0, 0.1], [1.0, 0.0, 0.0, 1.0]
    swapped = value("lovasz_symmetric", [-x for x in logits], [1 - m for m in masks])
    assert value("lovasz_symmetric", logits, masks) == pytest.approx(swapped)
    assert value("lovasz_elu", logits, masks) != pytest.approx(
        value("lovasz_elu", [-x for x in logits], [1 - m for m in masks])
    )


def test_sums_of_losses():
    logits, masks = [0.3, -1.2, 2.0], [1.0, 0.0, 0.0]
    bce, dice = value("bce", logits, masks), value("dice", logits, masks)
    assert value("bce+dice", logits, masks) == pytest.approx(bce + dice)
    assert value("0.25*bce+2*dice", logits, masks) == pytest.approx(0.25 * bce + 2 * dice)


@pytest.mark.parametrize(("name", "said"), [("bcee", "choose from bce, dice"), ("x*bce", "'x' is not a weight")])
def test_wrong_names(name, said):
    with pytest.raises(InputError, match=said.replace("*", r"\*")):
        make_loss(name)
