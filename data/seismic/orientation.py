"""Whether a section looks turned: its layers running down the columns, where rows should be time or depth."""

import numpy as np

WINDOW = 50  # px a side; over more, dipping layers cancel out along both sides
LEAST_AREA = 2 * 101**2  # px; a single tile says too little: in one of 1,000 real ones, layers seem to stand upright
TURNED = (
    8  # of 2,500 sections of data.sample, steep ones among them, 5 reach it; lines of a real survey (F3) have 0.003
)


def looks_turned(gray: np.ndarray) -> bool:
    """Tell whether a section, uint8 (H, W), is likely to lie on its side.

    A trace swings about zero, so that its mean hardly differs from its neighbour's, while from one time to the next
    the mean over many traces does. Saved as (traces, samples), it is the other way round.
    """
    return gray.size >= LEAST_AREA and min(gray.shape) >= WINDOW and _uprightness(gray) > TURNED


def _uprightness(gray: np.ndarray) -> float:
    """Measure how much more columns' means vary than rows' means, within windows over the whole section."""
    rows, columns = (side // WINDOW * WINDOW for side in gray.shape)
    windows = gray[:rows, :columns].reshape(rows // WINDOW, WINDOW, columns // WINDOW, WINDOW)
    by_column, by_row = (float(windows.mean(axis=axis).var(axis=other).sum()) for axis, other in ((1, 2), (3, 1)))
    return (by_column + 1e-9) / (by_row + 1e-9)
