"""Predicting seismic sections of any size by overlapping windows, blended without seams."""

import itertools
from collections.abc import Callable

import cv2
import numpy as np

from data.tiles import TILE


def count_windows(shape: tuple[int, int], tile: int = TILE, overlap: float = 0.5) -> int:
    """Count the windows that `predict_section` takes for a section of this shape (H, W)."""
    rows, columns = (len(_starts(max(side, tile), tile, overlap)) for side in shape)
    return rows * columns


def predict_section(
    section: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
    *,
    tile: int = TILE,
    overlap: float = 0.5,
    batch_size: int = 64,
    progress: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """Predict a section by overlapping windows; the weight of a window's pixel falls smoothly towards its border.

    Args:
        section: uint8 (H, W); one smaller than a window is reflected at its borders until it fills one.
        predict: from tiles uint8 (N, 101, 101) to probabilities float32 (N, 101, 101), N at most `batch_size`.
        tile: side of a window in the section's pixels. Another than 101 is scaled to 101 and back: twice that for a
            section with twice the training tiles' pixels a metre.
        overlap: least share of a window, 0 to 0.9, that the next one in its row or column covers as well.
        progress: is told after each batch how many windows it had; see count_windows.
    Returns:
        probabilities float32 (H, W) in 0..1, to within rounding.
    """
    height, width = section.shape
    top, left = ((max(side, tile) - side) // 2 for side in section.shape)
    bottom, right = max(height, tile) - height - top, max(width, tile) - width - left
    section = np.pad(section, ((top, bottom), (left, right)), "reflect")
    total = np.zeros(section.shape, np.float32)
    windows = itertools.product(*(windows_along(side, tile, overlap) for side in section.shape))
    while batch := list(itertools.islice(windows, batch_size)):
        images = np.stack([_resize(section[y, x], TILE) for (y, _), (x, _) in batch])  # (N, 101, 101)
        for ((y, weight_y), (x, weight_x)), probabilities in zip(batch, predict(images), strict=True):
            total[y, x] += _resize(probabilities, tile) * weight_y[:, None] * weight_x
        progress(len(batch))
    return total[top : top + height, left : left + width]


def _starts(length: int, tile: int, overlap: float) -> np.ndarray:
    """Place the windows along a side: as few as cover it with this overlap, evenly spread; returns their starts."""
    step = max(1, round(tile * (1 - overlap)))
    return np.linspace(0, length - tile, 1 + -(-(length - tile) // step)).round().astype(int)


def windows_along(length: int, tile: int, overlap: float) -> list[tuple[slice, np.ndarray]]:
    """List the windows along a side, each with its weights float32 (tile,), which add up to 1 at every pixel.

    A window's weights are the product of those along both sides, so they add up to 1 in the section too, with no
    second array of its size. They follow a raised cosine (Hann window), sampled so that it is nowhere 0.
    """
    slices = [slice(start, start + tile) for start in _starts(length, tile, overlap)]
    bump = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(length)
    for window in slices:
        total[window] += bump
    return [(window, (bump / total[window]).astype(np.float32)) for window in slices]


def _resize(pixels: np.ndarray, side: int) -> np.ndarray:
    """Scale a square to another side, averaging where it shrinks."""
    if len(pixels) == side:
        return pixels
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA if len(pixels) > side else cv2.INTER_LINEAR)
