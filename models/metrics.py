"""The competition's score, exactly: in integers, so that no rounding decides at a threshold."""

import numpy as np

# IoU thresholds 0.50, 0.55 ... 0.95 as twentieths: IoU > k / 20 is 20 * intersection > k * union.
THRESHOLDS = np.arange(10, 20)


def points(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Thresholds passed per image, int (N,) in 0..10, of masks (N, H, W), non-zero = salt.

    Both empty: 10. Exactly one empty: 0. Otherwise how many of the ten thresholds the IoU exceeds (a tie does not
    pass), as the competition's evaluation page defines it.
    """
    truth, prediction = np.asarray(truth) != 0, np.asarray(prediction) != 0
    if truth.shape != prediction.shape or truth.ndim != 3:
        raise ValueError(f"masks of shapes {truth.shape} and {prediction.shape}; both must be (N, H, W)")
    intersection = np.count_nonzero(truth & prediction, axis=(1, 2))
    union = np.count_nonzero(truth | prediction, axis=(1, 2))
    passed = np.count_nonzero(20 * intersection[:, None] > THRESHOLDS * union[:, None], axis=1)
    return np.where(union == 0, 10, passed)


def score(truth: np.ndarray, prediction: np.ndarray) -> float:
    """The competition's score, 0..1: mean over images of the share of thresholds passed."""
    return float(points(truth, prediction).sum() / (10 * len(truth)))
