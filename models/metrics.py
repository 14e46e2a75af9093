"""The competition's score, exactly: in integers, so that no rounding decides at a threshold."""

import numpy as np

# IoU thresholds 0.50, 0.55 ... 0.95 as twentieths: IoU > k / 20 is 20 * intersection > k * union.
IOU_TWENTIETHS = np.arange(10, 20)


def points(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count the thresholds passed per image, int (N,) in 0..10, of masks (N, H, W), non-zero = salt.

    Both empty: 10. Exactly one empty: 0. Otherwise how many of the ten thresholds the IoU exceeds (a tie does not
    pass), as the competition's evaluation page defines it.
    """
    truth, prediction = np.asarray(truth, bool), np.asarray(prediction, bool)
    if truth.shape != prediction.shape or truth.ndim != 3:
        raise ValueError(f"masks of shapes {truth.shape} and {prediction.shape}; both must be (N, H, W)")
    # Mask by mask, which the cache holds: over an axis of all of them it takes twice as long.
    intersection = np.array([np.count_nonzero(t & p) for t, p in zip(truth, prediction, strict=True)], int)
    union = np.array([np.count_nonzero(t | p) for t, p in zip(truth, prediction, strict=True)], int)
    passed = np.count_nonzero(20 * intersection[:, None] > IOU_TWENTIETHS * union[:, None], axis=1)
    return np.where(union == 0, 10, passed)


def score(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Compute the competition's score, 0..1: mean over images of the share of thresholds passed."""
    return float(points(truth, prediction).sum() / (10 * len(truth)))


def iou(truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Compute the IoU of masks (N, 101, 101), non-zero = salt: float (N,) in 0..1, 1 where both are empty."""
    truth, predictions = truth != 0, predictions != 0
    union = np.count_nonzero(truth | predictions, axis=(1, 2))
    return np.where(union == 0, 1.0, np.count_nonzero(truth & predictions, axis=(1, 2)) / np.maximum(union, 1))
