"""Run-length encoding of masks, as the TGS Salt Identification Challenge defines it.

Pixels are numbered from 1, column by column (top to bottom, then left to right); a mask is written as
"start length start length ..." with sorted, positive, separate runs; an empty mask is "".
"""

from collections.abc import Iterable

import numpy as np

from data.tiles import TILE


def encode_rle(mask: np.ndarray) -> str:
    """Encode a mask (H, W), non-zero = salt, to its run-length string."""
    pixels = np.zeros(mask.size + 2, bool)  # a background pixel at each end closes every run
    pixels[1:-1] = np.asarray(mask).ravel(order="F") != 0
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1  # 1-based start, end, start, end, ...
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges.tolist()))


def decode_rle(text: str, shape: tuple[int, int] = (TILE, TILE)) -> np.ndarray:
    """Decode a run-length string to a mask uint8 {0, 1} of `shape` (H, W); ValueError as read_runs raises it."""
    return fill_runs(read_runs(text, shape[0] * shape[1]), shape)


def fill_runs(runs: Iterable[tuple[int, int]], shape: tuple[int, int] = (TILE, TILE)) -> np.ndarray:
    """Make the mask uint8 {0, 1} of `shape` (H, W) of what read_runs gives."""
    pixels = np.zeros(shape[0] * shape[1], np.uint8)
    for start, length in runs:
        pixels[start - 1 : start - 1 + length] = 1
    return pixels.reshape(shape, order="F")


def read_runs(text: str, pixels: int = TILE * TILE) -> list[tuple[int, int]]:
    """Read the runs of a mask of so many pixels, each its first pixel, counted from 1, and its length.

    Raises ValueError, saying what is wrong, on anything but sorted, positive, separate runs inside the mask.
    """
    words = text.split()
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) < 10):
            raise ValueError(f"'{word[:20]}' is not a pixel number")
    if len(words) % 2:
        raise ValueError("odd count of numbers: each run is a start and a length")
    runs = list(zip(map(int, words[::2]), map(int, words[1::2]), strict=True))
    previous_end = 0  # 1-based number of the last pixel of the run before
    for start, length in runs:
        if start < 1 or length < 1:
            raise ValueError(f"run '{start} {length}': start and length count from 1")
        if start <= previous_end:
            raise ValueError(f"run '{start} {length}' overlaps or precedes the run before it")
        previous_end = start + length - 1
        if previous_end > pixels:
            raise ValueError(f"run '{start} {length}' ends behind the last pixel, {pixels}")
    return runs
