"""Sheets of tiles, truth and prediction outlined so that black and white tells them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.files import replacing
from data.tiles import TILE

SCALE = 2  # a tile's pixel is this many wide on a sheet
DRAWN, GAP, MARGIN = SCALE * TILE, 8, 10  # px of the sheet, the first a tile's side
TITLE, HEADING = 15, 26  # px, heights of a title's line and of a row's heading
WHITE, BLACK = (255, 255, 255), (0, 0, 0)  # blue, green, red


@dataclass(frozen=True)
class Stroke:
    """How a mask's outline is drawn: `dash` pixels of every `period` in `core`, between two thin lines of `casing`."""

    name: str
    core: tuple[int, int, int]
    casing: tuple[int, int, int]
    dash: int = 1
    period: int = 1

    def trace(self, canvas: np.ndarray, mask: np.ndarray) -> None:
        """Draw the outline of `mask` (h, w) onto `canvas` (SCALE * h, SCALE * w, 3)."""
        core = np.zeros(mask.shape, np.uint8)
        for border in cv2.findContours((mask != 0).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]:
            x, y = border[np.arange(len(border)) % self.period < self.dash, 0].T
            core[y, x] = 1
        core = cv2.resize(core, canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        canvas[cv2.dilate(core, np.ones((3, 3))) != 0] = self.casing
        canvas[core != 0] = self.core


# In black and white: a light line in dark edges that never breaks; dark dashes in light edges.
TRUTH = Stroke("truth", core=(0, 220, 255), casing=BLACK)
PREDICTION = Stroke("prediction", core=(210, 50, 0), casing=WHITE, dash=6, period=10)


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
    outlines = [(stroke, m) for stroke, m in ((TRUTH, masks), (PREDICTION, predictions)) if m is not None]
    lines = max((title.count("\n") + 1 for title in titles if title), default=0)
    sheet = _Sheet(len(rows), columns, headed=any(text.strip() for text in rows), lines=lines)
    sheet.explain([stroke for stroke, _ in outlines], legend)
    for row, (heading, indices) in enumerate(rows.items()):
        sheet.head(row, heading)
        for column, i in enumerate(indices):
            sheet.draw(row, column, images[i], [(stroke, m[i]) for stroke, m in outlines], titles[i])
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", sheet.pixels, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1])


class _Sheet:
    """A white picture with room for rows of tiles, each under a heading if they have such, over lines of text."""

    def __init__(self, rows: int, columns: int, *, headed: bool, lines: int):
        self._heading = HEADING if headed else 0
        self._step = self._heading + DRAWN + TITLE * lines + GAP
        self._font = cv2.FontFace("sans")
        height = MARGIN + HEADING + rows * self._step + MARGIN - GAP
        self.width = 2 * MARGIN + columns * (DRAWN + GAP) - GAP
        self.pixels = np.full((height, self.width, 3), 255, np.uint8)

    def explain(self, strokes: Sequence[Stroke], legend: str) -> None:
        """Show at the top what the outlines are, and a text behind that."""
        x, y = MARGIN, MARGIN
        for stroke in strokes:
            swatch = self.pixels[y : y + 18, x : x + 50]
            swatch[:] = 128
            stroke.trace(swatch, np.pad(np.ones((5, 21)), 2))
            x = self._write(stroke.name, x + 56, y + 14, size=13) + 24
        self._write(legend, x, y + 14, width=self.width - x - MARGIN, size=13)

    def head(self, row: int, text: str) -> None:
        """Write a row's heading."""
        self._write(text, MARGIN, self._top(row) - 8, width=self.width - 2 * MARGIN, size=14, weight=600)

    def draw(
        self, row: int, column: int, image: np.ndarray, outlines: Sequence[tuple[Stroke, np.ndarray]], title: str
    ) -> None:
        """Draw a tile with its outlines, and its title under it."""
        x, y = MARGIN + column * (DRAWN + GAP), self._top(row)
        place = self.pixels[y : y + DRAWN, x : x + DRAWN]
        place[:] = cv2.resize(image & 0xFC, (DRAWN, DRAWN), interpolation=cv2.INTER_NEAREST)[..., None]
        for stroke, mask in outlines:
            stroke.trace(place, mask)
        for k, line in enumerate(title.split("\n"), start=1):
            self._write(line, x, y + DRAWN + TITLE * k - 3)

    def _top(self, row: int) -> int:
        return MARGIN + HEADING + row * self._step + self._heading

    def _write(self, text: str, x: int, y: int, *, width: int = DRAWN, size: int = 11, weight: int = 400) -> int:
        """Write `text` from `x` on with its baseline at `y`, cut off to `width` px; returns the x where it ends."""
        whole = text = text.strip()
        while text and cv2.getTextSize((0, 0), text, (0, 0), self._font, size, weight)[2] > width:
            whole = whole[:-1]
            text = whole + "…"
        return cv2.putText(self.pixels, text, (x, y), BLACK, self._font, size, weight)[0][0] if text else x
