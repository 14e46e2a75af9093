"""Out-of-fold evaluation: every tile predicted by the one model that did not train on it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.folds.split import coverage_class
from models.metrics import points

PROBABILITIES = np.round(np.arange(0.30, 0.701, 0.02), 2)  # thresholds of a search
MIN_AREAS = np.array([0, 10, 20, 40, 60, 80, 120, 160, 240, 320, 480])  # pixels; a smaller predicted mask is emptied


@dataclass(frozen=True)
class OutOfFold:
    """Tiles of all evaluated folds: ids, `folds` (N,), `truth` uint8 (N, 101, 101), `probabilities` float16 alike."""

    ids: list[str]
    folds: np.ndarray
    truth: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Search:
    """`threshold`, `min_area`: the best pair on all tiles, with its (optimistic) `score`.

    `cross_fitted`: score when each fold is judged at the pair that the other folds chose; None with one fold.
    `grid`: the mean score by threshold (index) and minimum area in pixels (columns). `scores` (N,): of each tile at
    the best pair, 0..1.
    """

    threshold: float
    min_area: int
    score: float
    cross_fitted: float | None
    grid: pd.DataFrame
    scores: np.ndarray


def points_at(result: OutOfFold, threshold: float, min_areas: np.ndarray) -> np.ndarray:
    """Count each tile's points, 0..10, at a threshold, for each minimum area: int (A, N)."""
    prediction = result.probabilities > np.float16(threshold)
    area = np.count_nonzero(prediction, axis=(1, 2))
    when_kept = points(result.truth, prediction)
    when_emptied = np.where(result.truth.any(axis=(1, 2)), 0, 10)
    return np.where(area < min_areas[:, None], when_emptied, when_kept)


def search(result: OutOfFold) -> Search:
    """Find threshold and minimum area on a grid, and what the search is worth on tiles it did not see."""
    grid = np.stack([points_at(result, t, MIN_AREAS) for t in PROBABILITIES]) / 10  # (T, A, N)

    def best(tiles: np.ndarray) -> tuple[int, int]:
        means = grid[:, :, tiles].mean(axis=2)
        return np.unravel_index(means.argmax(), means.shape)

    t, a = best(np.ones(len(result.ids), bool))
    names = np.unique(result.folds)
    cross_fitted = None
    if len(names) > 1:
        own = np.empty(len(result.ids))
        for fold in names:
            inside = result.folds == fold
            own[inside] = grid[(*best(~inside), inside)]
        cross_fitted = float(own.mean())
    means = pd.DataFrame(grid.mean(axis=2), index=PROBABILITIES, columns=MIN_AREAS)
    scores = grid[t, a]
    return Search(float(PROBABILITIES[t]), int(MIN_AREAS[a]), float(scores.mean()), cross_fitted, means, scores)


def by_coverage(truth: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """Tabulate mean score and count of tiles by coverage class, from masks (N, 101, 101) and scores (N,) in 0..1."""
    classes = coverage_class(truth.mean(axis=(1, 2)))
    table = pd.DataFrame({"coverage": classes, "score": scores}).groupby("coverage")["score"].agg(["size", "mean"])
    table.index = ["empty" if c == 0 else f"{10 * c - 10}-{10 * c} %" for c in table.index]
    return table.rename(columns={"size": "tiles", "mean": "score"}).rename_axis("coverage")
