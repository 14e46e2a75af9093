"""The competition's score, by hand-computed cases and against a slow, obvious second implementation."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics import points, score


def row(*pixels: int) -> np.ndarray:
    """A mask of one row, (1, 1, W)."""
    return np.array(pixels, np.uint8)[None, None]


def first(n: int, width: int = 20) -> np.ndarray:
    """A mask (1, 1, width) whose first n pixels are salt."""
    return row(*([1] * n + [0] * (width - n)))


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        (first(0), first(0), 10),  # both empty
        (first(0), first(1), 0),  # invented salt
        (first(1), first(0), 0),  # missed salt
        (first(16), first(0), 0),  # missed 80 % of the tile: not 7, as a widespread version says
        (first(20), first(20), 10),
        (first(10), first(20), 0),  # IoU 0.5 exactly: a tie does not pass
        (first(11), first(20), 1),  # 0.55 exactly: passes 0.50 only
        (first(12), first(20), 2),  # 0.60, which no float holds
        (first(13), first(20), 3),
        (first(14), first(20), 4),  # 0.70
        (first(17), first(20), 7),  # 0.85
        (first(19), first(20), 9),  # 0.95 exactly
        (row(1, 1, 0, 0), row(0, 1, 1, 0), 0),  # IoU 1/3
        (row(1, 1, 1, 0), row(1, 1, 0, 0), 4),  # IoU 2/3: above 0.50, 0.55, 0.60, 0.65
    ],
)
def test_points_by_hand(truth, prediction, expected):
    assert points(truth, prediction) == [expected]
    assert points(prediction, truth) == [expected]  # symmetric


def test_score_is_the_mean_over_images():
    truth = np.concatenate([first(0), first(11), first(20)])
    prediction = np.concatenate([first(0), first(20), first(20)])
    assert score(truth, prediction) == pytest.approx((10 + 1 + 10) / 30)


def test_any_nonzero_value_is_salt():
    assert score(first(5) * 255, first(5).astype(np.uint16) * 65535) == 1.0


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="masks of shapes"):
        points(np.zeros((2, 4, 4)), np.zeros((2, 4, 5)))


def slow_points(truth: np.ndarray, prediction: np.ndarray) -> int:
    """The definition, pixel set by pixel set, in exact fractions."""
    t = {tuple(p) for p in np.argwhere(truth)}
    p = {tuple(p) for p in np.argwhere(prediction)}
    if not t and not p:
        return 10
    iou = Fraction(len(t & p), len(t | p))
    return sum(iou > Fraction(50 + 5 * k, 100) for k in range(10))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 0.5, 0.9, 1.0]), st.sampled_from([0.0, 0.02, 0.1, 0.4]))
def test_points_against_the_definition(seed, density, noise):
    rng = np.random.default_rng(seed)
    truth = rng.random((3, 7, 9)) < density
    prediction = truth ^ (rng.random(truth.shape) < noise)
    assert points(truth, prediction).tolist() == [slow_points(t, p) for t, p in zip(truth, prediction, strict=True)]
