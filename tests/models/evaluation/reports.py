"""Reports to write in tests: six tiles of known scores and hostile ids, and thousands of generated ones."""

from functools import cache

import cv2
import numpy as np
import pandas as pd

from data.synthetic.tiles import make_tiles
from models.evaluation.report.page import Report

HOSTILE = [
    "</script><script>window.hacked=1</script>",
    "<!--<script>",
    '"><img src=x onerror=window.hacked=1>',
    "{{data}}",
    "$&\u2028\u00e9'`",
    "0a",
]


def squares(*sides: int) -> np.ndarray:
    """Masks uint8 {0, 1}, each a square of `side` pixels in the upper left corner."""
    masks = np.zeros((len(sides), 101, 101), np.uint8)
    for mask, side in zip(masks, sides, strict=True):
        mask[:side, :side] = 1
    return masks


def small() -> Report:
    """Six tiles of known kinds and scores."""
    truth, predictions = squares(0, 0, 40, 50, 60, 100), squares(0, 30, 0, 36, 48, 100)
    images = np.random.default_rng(0).integers(0, 256, truth.shape, np.uint8)
    return Report(
        title="tiny & <b>bold</b>",
        facts={"Command": "python tgs_predict.py --model='<i>'", "Path": "not UTF-8: \udce9"},
        ids=HOSTILE,
        images=images,
        probabilities=predictions * np.uint8(200),
        predictions=predictions,
        folds=np.array(["fold_0", "fold_1", "fold_10", "fold_2", "fold_0", "fold_1"]),
        truth=truth,
        tables={"Score </table>": pd.DataFrame({"tiles": [1406, 3], "score": [0.5, np.nan]}, index=["<td>", "b"])},
        figures={'curve "1"': cv2.imencode(".png", np.full((40, 400), 200, np.uint8))[1].tobytes()},
    )


@cache
def generated() -> tuple[np.ndarray, np.ndarray]:
    """300 tiles and their masks, uint8 (300, 101, 101)."""
    images, masks, _ = make_tiles(np.random.default_rng(5), 300)
    return images, masks.astype(np.uint8)


def many(n: int) -> Report:
    """`n` tiles with predictions that are truth moved, lost or invented: generated, turned and mirrored."""
    place = np.arange(n)
    images, truth = (part[place % 300] for part in generated())
    for way in range(8):
        for stack in (images, truth):
            turned = np.rot90(stack[way::8], way % 4, axes=(1, 2))
            stack[way::8] = turned[:, :, ::-1] if way > 3 else turned
    predictions = np.roll(truth, 3, axis=2)
    predictions[::9], predictions[4::9] = 0, truth[5::9][:1]
    probabilities = np.stack([cv2.GaussianBlur(mask * np.uint8(255), (0, 0), 5) for mask in predictions])
    folds = np.array([f"fold_{k}" for k in place % 5])
    return Report("many", {}, [f"{i:08x}" for i in place], images, probabilities, predictions, folds, truth)
