"""Sheets of tiles, truth and prediction outlined so that black and white tells them apart. Figures: data/figures.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from data.files import replacing
from data.rle import TILE
from data.tiles import TileSet

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


def draw_samples(path: str | Path, table: pd.DataFrame, tiles: TileSet, *, columns: int = 8) -> None:
    """Draw a row of tiles of each coverage class, from the least to the most salt (without any: to the deepest).

    `table`: as of folds.csv, the numbers as numbers, a row a tile in the order of `tiles`. The choice is the same
    for the same tiles: evenly spaced in the class, in order of coverage, then depth, then id.
    """
    order = table.reset_index(drop=True).sort_values(["coverage_class", "coverage", "depth", "id"])
    rows = {}
    for name, part in order.groupby("coverage_class"):
        picked = np.unique(np.linspace(0, len(part) - 1, columns).round().astype(int))
        heading = f"{10 * name - 10} to {10 * name} % salt" if name else "No salt"
        rows[f"{heading}: {len(part):,} of {len(table):,} tiles"] = part.index[picked]
    salt = table["coverage"].map(lambda share: f"{100 * share:.2f} % salt" if share else "no salt")
    depth = table["depth"].map(lambda z: "unknown" if pd.isna(z) else f"{z:g}")
    titles = (table["id"] + "\n" + salt + ", z " + depth + ", fold " + table["fold"].astype(str)).tolist()
    legend = "Tiles of 101 x 101 pixels, enlarged twice; salt as a share of the pixels; z: depth as in depths.csv."
    draw_tiles(path, tiles.images, masks=tiles.masks, titles=titles, rows=rows, columns=columns, legend=legend)


# ---- out of fold -------------------------------------------------------------------------------------------------


def pick_extremes(
    ids: Sequence[str], *, truth: np.ndarray, predictions: np.ndarray, scores: np.ndarray, count: int
) -> dict[str, list[int]]:
    """Indices of `count` best, median and worst tiles each, of those with salt in truth or prediction.

    Tiles rightly left empty are dull, and so is whole salt rightly found: among equals of score the best are those
    with the longest true outline. The worst are, among equals, those with the most wrong pixels. The median are those
    in the middle of all others in order of score, then IoU. Whatever is still equal goes by id. Fewer than three times
    `count` tiles give shorter rows; with no salt anywhere, all tiles count.
    """
    truth, predictions = truth != 0, predictions != 0
    salt = (truth | predictions).any(axis=(1, 2))
    left = np.flatnonzero(salt if salt.any() else ~salt)
    count = min(count, -(-len(left) // 3))
    border = [truth[i] & ~cv2.erode(truth[i].astype(np.uint8), np.ones((3, 3))).astype(bool) for i in left]
    facts = pd.DataFrame(
        {
            "id": np.asarray(ids, object)[left],
            "score": scores[left],
            "iou": iou(truth[left], predictions[left]),
            "outline": [pixels.sum() for pixels in border],
            "wrong": (truth[left] != predictions[left]).sum(axis=(1, 2)),
        },
        index=left,
    )
    rows = {}
    rows["best"] = facts.sort_values(["score", "outline", "id"], ascending=[False, False, True]).index[:count]
    facts = facts.drop(rows["best"])
    rows["worst"] = facts.sort_values(["score", "wrong", "id"], ascending=[True, False, True]).index[:count]
    facts = facts.drop(rows["worst"])
    start = max(0, (len(facts) - count) // 2)
    rows["median"] = facts.sort_values(["score", "iou", "id"]).index[start : start + count]
    return {name: rows[name].tolist() for name in ("best", "median", "worst")}


def iou(truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Intersection over union of masks (N, 101, 101), non-zero = salt: float (N,) in 0..1, 1 where both are empty."""
    truth, predictions = truth != 0, predictions != 0
    union = np.count_nonzero(truth | predictions, axis=(1, 2))
    return np.where(union == 0, 1.0, np.count_nonzero(truth & predictions, axis=(1, 2)) / np.maximum(union, 1))


def draw_extremes(
    path: str | Path,
    ids: Sequence[str],
    images: np.ndarray,
    *,
    truth: np.ndarray,
    predictions: np.ndarray,
    scores: np.ndarray,
    count: int = 8,
) -> None:
    """Draw the best, the median and the worst tiles, `count` each, as `pick_extremes` chooses them.

    `images` uint8, `truth` and `predictions` (non-zero = salt), all (N, 101, 101); `scores` (N,) in 0..1.
    """
    picked = pick_extremes(ids, truth=truth, predictions=predictions, scores=scores, count=count)
    headings = {
        "best": "Best: highest score, then longest outline",
        "median": "Median: the middle in order of score, then IoU",
        "worst": "Worst: lowest score, then most wrong pixels",
    }
    rows = {headings[name]: indices for name, indices in picked.items() if indices}
    titles = [
        f"{name}\nscore {s:.1f}, IoU {j:.3f}" for name, s, j in zip(ids, scores, iou(truth, predictions), strict=True)
    ]
    legend = "Of the tiles with salt in truth or prediction; 101 x 101 pixels, enlarged twice; score and IoU: 0 to 1."
    draw_tiles(
        path, images, masks=truth, predictions=predictions, titles=titles, rows=rows, columns=count, legend=legend
    )
