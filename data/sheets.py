"""Sheets of tiles, truth and prediction outlined so that black and white tells them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from common.files import replacing
from data.rle import TILE

SCALE = 2  # a tile's pixel is this many wide on a sheet
SIDE, GAP, MARGIN = SCALE * TILE, 8, 10  # px of the sheet
TITLE, HEADING = 15, 26  # px, heights of a title's line and of a row's heading
WHITE, BLACK = (255, 255, 255), (0, 0, 0)  # blue, green, red


@dataclass(frozen=True)
class Outline:
    """How a mask's border is drawn: `dash` pixels of every `period` in `core`, between two thin lines of `casing`."""

    name: str
    core: tuple[int, int, int]
    casing: tuple[int, int, int]
    dash: int = 1
    period: int = 1


# In black and white: a light line in dark edges that never breaks; dark dashes in light edges.
TRUTH = Outline("truth", core=(0, 220, 255), casing=BLACK)
PREDICTION = Outline("prediction", core=(210, 50, 0), casing=WHITE, dash=6, period=10)


def draw_tiles(
    path: str | Path,
    images: np.ndarray,
    *,
    masks: np.ndarray | None = None,
    predictions: np.ndarray | None = None,
    titles: Sequence[str] | None = None,
    rows: Mapping[str, Sequence[int]] | None = None,
    columns: int = 8,
    legend: str = "",
) -> None:
    """Draw tiles, enlarged twice, with salt outlined: the truth by a solid line, the prediction by a dashed one.

    Args:
        path: the PNG.
        images: uint8 (N, 101, 101), shown in 64 grays, for a smaller file.
        masks, predictions: (N, 101, 101), non-zero = salt; outlined are the salt's outermost pixels.
        titles: N texts to stand under the tiles, of one line or several; cut off at the tile's width.
        rows: which tiles each row shows, at most `columns`, by the row's heading; else all, one row after the other.
        columns: tiles in a row.
        legend: is written behind the explanation of the outlines.
    """
    if rows is None:
        rows = {" " * k: range(k, min(k + columns, len(images))) for k in range(0, len(images), columns)}
    titles = titles or [""] * len(images)
    outlines = [(o, m) for o, m in ((TRUTH, masks), (PREDICTION, predictions)) if m is not None]
    lines = max((title.count("\n") + 1 for title in titles if title), default=0)
    heading = HEADING if any(text.strip() for text in rows) else 0
    top, step = MARGIN + HEADING, heading + SIDE + TITLE * lines + GAP
    width = 2 * MARGIN + columns * (SIDE + GAP) - GAP
    sheet = np.full((top + len(rows) * step + MARGIN - GAP, width, 3), 255, np.uint8)
    write = partial(_write, cv2.FontFace("sans"), sheet)
    x, y = MARGIN, MARGIN
    for outline, _ in outlines:
        swatch = sheet[y : y + 18, x : x + 50]
        swatch[:] = 128
        _trace(swatch, np.pad(np.ones((5, 21)), 2), outline)
        x = write(outline.name, x + 56, y + 14, size=13) + 24
    write(legend, x, y + 14, width=width - x - MARGIN, size=13)
    for row, (text, indices) in enumerate(rows.items()):
        y = top + row * step + heading
        write(text, MARGIN, y - 8, width=width - 2 * MARGIN, size=14, weight=600)
        for column, i in enumerate(indices):
            x = MARGIN + column * (SIDE + GAP)
            enlarged = cv2.resize(images[i] & 0xFC, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
            sheet[y : y + SIDE, x : x + SIDE] = enlarged[..., None]
            for outline, all_masks in outlines:
                _trace(sheet[y : y + SIDE, x : x + SIDE], all_masks[i], outline)
            for k, line in enumerate(titles[i].split("\n")):
                write(line, x, y + SIDE + TITLE * (k + 1) - 3)
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1])


def _trace(canvas: np.ndarray, mask: np.ndarray, outline: Outline) -> None:
    """Draw the outline of `mask` (h, w) onto `canvas` (SCALE * h, SCALE * w, 3)."""
    core = np.zeros(mask.shape, np.uint8)
    for border in cv2.findContours((mask != 0).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]:
        x, y = border[np.arange(len(border)) % outline.period < outline.dash, 0].T
        core[y, x] = 1
    core = cv2.resize(core, canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    canvas[cv2.dilate(core, np.ones((3, 3))) != 0] = outline.casing
    canvas[core != 0] = outline.core


def _write(font: cv2.FontFace, sheet: np.ndarray, text: str, x: int, y: int, *, width=SIDE, size=11, weight=400) -> int:
    """Write `text` from `x` on with its baseline at `y`, cut off to `width` px; returns the x where it ends."""
    whole = text = text.strip()
    while text and cv2.getTextSize((0, 0), text, (0, 0), font, size, weight)[2] > width:
        whole = whole[:-1]
        text = whole + "…"
    return cv2.putText(sheet, text, (x, y), BLACK, font, size, weight)[0][0] if text else x


# ---- preprocessing -----------------------------------------------------------------------------------------------


# ---- out of fold -------------------------------------------------------------------------------------------------
