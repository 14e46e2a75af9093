"""Which tiles were cut from the same larger picture: the groups of an honest cross-validation split.

Neighbouring 101 x 101 tiles of the TGS data are pieces of one seismic section. A random split puts one piece
in training and its neighbour in validation, and the score then rewards remembering. Tiles of one group belong
in one fold.
"""

import numpy as np

from data.tiles import TILE

MIN_STD = 2.0  # gray levels; a flatter border (black tile, padding) matches nothing
MAX_DISTANCE = 0.6  # RMS difference of two standardised borders; 0.6 is a correlation of 0.82
MAX_RATIO = 0.6  # best distance over second best, for either border of a seam
BLOCK = 1024  # rows of the N x N correlation matrix held at once


def mosaic_groups(images: np.ndarray) -> np.ndarray:
    """Group the tiles whose borders continue each other.

    Tile A is joined to the tile B on its right (or below it) when their facing borders, each extended by half
    a pixel to the seam and standardised,

    1. differ by less than MAX_DISTANCE, and
    2. beat the second-best match of both borders: best < MAX_RATIO * second (so each is the other's best).

    Groups are the connected components. Standardised, because each tile's contrast was stretched on its own; extended
    to the seam, because neighbours share no pixel. What each rule is worth, and how far the groups can be trusted, was
    measured: see docs/data.md.

    Args:
        images: uint8, (N, 101, 101), gray levels.

    Returns:
        (N,) int64 group labels, 0 .. groups - 1; tiles of one group share a label.

    Raises:
        ValueError: images are not uint8 of shape (N, 101, 101).
    """
    from scipy.sparse import coo_array  # a fifth of a second, spared to training
    from scipy.sparse.csgraph import connected_components

    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (TILE, TILE):
        raise ValueError(f"images must be uint8 (N, {TILE}, {TILE}), not {images.dtype} {images.shape}")
    seams = np.concatenate(find_seams(images), axis=1)  # (2, seams): horizontal, then vertical
    n = len(images)
    graph = coo_array((np.ones(seams.shape[1], dtype=bool), tuple(seams)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def find_seams(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the horizontal seams (left tile, right tile) and the vertical ones (upper, lower): each (2, seams)."""
    right, left = _seam_line(images[:, :, -1], images[:, :, -2]), _seam_line(images[:, :, 0], images[:, :, 1])
    bottom, top = _seam_line(images[:, -1], images[:, -2]), _seam_line(images[:, 0], images[:, 1])
    return _match(right, left), _match(bottom, top)


def _seam_line(border: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Extrapolate borders (N, 101) half a pixel outwards, mean 0, norm 1; all 0 where the border is flat."""
    line = 1.5 * border.astype(np.float32) - 0.5 * inner.astype(np.float32)
    line -= line.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(line, axis=1, keepdims=True)
    flat = (border.std(axis=1, keepdims=True) < MIN_STD) | (norm == 0)
    return np.where(flat, 0, line / np.where(flat, 1, norm)).astype(np.float32)


def _match(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Match the rows of a and of b that pass both rules: (2, seams) indices into a and b."""
    partner, best, second = _nearest_two(a, b)
    _, _, second_of_b = _nearest_two(b, a)
    clear = best < MAX_RATIO * np.minimum(second, second_of_b[partner])
    found = np.flatnonzero(clear & (best < MAX_DISTANCE))
    return np.stack([found, partner[found]])


def _nearest_two(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find, for each line of a, the nearest line of another tile in b, its distance, and the next distance."""
    n = len(a)
    partner = np.zeros(n, dtype=np.int64)
    top = np.full((2, n), -np.inf, dtype=np.float32)  # largest and second-largest correlation
    for start in range(0, n, BLOCK):
        part = slice(start, min(start + BLOCK, n))
        corr = a[part] @ b.T  # (block, n)
        rows = np.arange(len(corr))
        corr[rows, start + rows] = -np.inf  # a tile is not its own neighbour
        partner[part] = corr.argmax(axis=1)
        top[0, part] = corr[rows, partner[part]]
        corr[rows, partner[part]] = -np.inf
        top[1, part] = corr.max(axis=1)
    best, second = np.sqrt(np.maximum(2 - 2 * top, 0))  # RMS difference of two standardised lines
    return partner, best, second
