"""The best, the median and the worst tiles of an evaluation."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from data.sheets import draw_tiles
from models.metrics import iou


def pick_extremes(
    ids: Sequence[str], *, truth: np.ndarray, predictions: np.ndarray, scores: np.ndarray, count: int
) -> dict[str, list[int]]:
    """Pick the indices of `count` best, median and worst tiles each, of those with salt in truth or prediction.

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
