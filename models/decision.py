"""From salt probabilities to masks."""

import cv2
import numpy as np


def salt_mask(probabilities: np.ndarray, threshold: float, min_area: int = 0) -> np.ndarray:
    """Mark where a section's probabilities (H, W) exceed the threshold, uint8 {0, 1}; smaller patches are left out.

    `min_area`: pixels that a patch, connected by sides or corners, must have.
    """
    mask = (probabilities > threshold).astype(np.uint8)
    if min_area > 1:
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        large = statistics[:, cv2.CC_STAT_AREA] >= min_area  # by label; 0 is what is not salt
        large[0] = False
        mask = large[labels].astype(np.uint8)
    return mask


def tile_masks(probabilities: np.ndarray, threshold: float, min_area: int) -> np.ndarray:
    """Mark where tiles' probabilities (N, H, W) exceed the threshold, bool; below `min_area` pixels none is marked."""
    masks = probabilities > probabilities.dtype.type(threshold)  # in their own precision: a wider one takes its space
    masks[np.count_nonzero(masks, axis=(1, 2)) < min_area] = False
    return masks
