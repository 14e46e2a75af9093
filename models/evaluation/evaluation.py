"""The out-of-fold evaluation as --oof makes it: tables, files beside the weights, pictures and the report."""

import contextlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import InputError
from common.files import replacing, write_json
from common.progress import bar
from common.ring.base import Ring
from data.folds.fold import fingerprint, read_folds_csv, read_split
from data.tiles import TileSet
from models.decision import tile_masks
from models.ensemble import fold_of, make_predictor
from models.evaluation.extremes import draw_extremes
from models.evaluation.figures import draw_folds_history, draw_out_of_fold
from models.evaluation.out_of_fold import OutOfFold, by_coverage, points_at, search
from models.predictor import share
from models.weights import Recipe


class Evaluation:
    """Every tile of the evaluated folds, predicted by the model, or the mean of those, that did not train on it.

    `result`: ids, folds, truth and probabilities; `images` uint8 (N, 101, 101); `scores` (N,) in 0..1 at threshold 0.5;
    `found`: the best threshold and minimum area; `histories`: the folds' training, as history.csv.
    """

    def __init__(self, files: Sequence[Path], folds_path: str | Path, *, ring: Ring | None = None, **settings):
        """Read and predict; `settings` as for make_predictor. InputError: weights of another split than the folds'.

        `files`: by fold, as fold_files gives them; where a fold has several, their mean predicts its tiles. The ranks
        of `ring` share the tiles, and all of them have the result.
        """
        table = read_folds_csv(folds_path)
        self.fingerprint = fingerprint(table)
        validation, folds, probabilities, histories = [], [], [], {}
        for _, of_fold in groupby(files, fold_of):
            own = list(of_fold)
            predictor, recipes = make_predictor(own, ring=ring, **settings)
            for file, recipe in zip(own, recipes, strict=True):
                if recipe.fingerprint != self.fingerprint:
                    raise InputError(
                        f"{file} was trained on another split than {folds_path}; name its folds, or train again"
                    )
            tiles = read_split(Path(folds_path) / recipe.fold, "val", table)
            with bar(f"{recipe.fold} by its own weights", len(tiles)) as shown:
                probabilities.append(share(predictor, ring)(tiles.images, shown.update).astype(np.float16))
            validation.append(tiles)
            histories[recipe.fold] = read_history(recipe)
            folds += [recipe.fold] * len(tiles)
        tiles = TileSet(
            [name for tiles in validation for name in tiles.ids],
            np.concatenate([tiles.images for tiles in validation]),
            np.concatenate([tiles.masks for tiles in validation]),
        )
        self.histories = {fold: history for fold, history in histories.items() if history is not None}
        self.images = tiles.images
        self.result = OutOfFold(tiles.ids, np.array(folds), tiles.masks, np.concatenate(probabilities))
        self.scores = points_at(self.result, 0.5, np.array([0]))[0] / 10
        self.found = search(self.result)

    @property
    def per_fold(self) -> pd.DataFrame:
        """Tabulate tiles and mean score of each fold."""
        table = pd.Series(self.scores).groupby(self.result.folds).agg(["size", "mean"])
        return table.rename(columns={"size": "tiles", "mean": "score"}).rename_axis("fold")

    @property
    def per_class(self) -> pd.DataFrame:
        """Tabulate tiles and mean score of each class of coverage."""
        return by_coverage(self.result.truth, self.scores)

    @property
    def summary(self) -> dict:
        """What oof_<pick>.json holds."""
        return {
            "fingerprint": self.fingerprint,
            "tiles": len(self.scores),
            "score": float(self.scores.mean()),
            "score_per_fold": self.per_fold["score"].round(4).to_dict(),
            "threshold": self.found.threshold,
            "min_area": self.found.min_area,
            "score_at_found": self.found.score,
            "score_cross_fitted": self.found.cross_fitted,
        }

    @property
    def text(self) -> str:
        """The tables and the scores, to be printed."""
        found = self.found
        honest = "" if found.cross_fitted is None else f"; cross-fitted over the folds {found.cross_fitted:.4f}"
        return "\n".join(
            [
                self.per_fold.round(4).to_string(),
                self.per_class.round(4).to_string(),
                f"out of fold, {len(self.scores)} tiles of {len(self.per_fold)} fold(s), threshold 0.5: "
                f"score {self.scores.mean():.4f}",
                f"best threshold {found.threshold}, minimum area {found.min_area}: {found.score:.4f} (optimistic)"
                f"{honest}",
            ]
        )

    def write(self, stem: Path, facts: dict) -> list[str]:
        """Write what --oof leaves; returns what the names end in.

        <stem>.json, with `facts` before the scores; <stem>.csv, a row a tile; <stem>.png, score against threshold,
        minimum area and coverage; <stem>_tiles.png, the best, median and worst tiles; <stem>_training.png, the curves
        of all folds, where their history.csv is still there.
        """
        endings = [".csv", ".json", ".png", "_tiles.png"]
        table, summary, curves, extremes = (f"{stem}{ending}" for ending in endings)
        rows = {
            "id": self.result.ids,
            "fold": self.result.folds,
            "coverage": self.result.truth.mean(axis=(1, 2)).round(4),
            "score": self.scores,
        }
        with replacing(table) as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False)
        draw_out_of_fold(curves, self.found.grid, by_coverage(self.result.truth, self.found.scores))
        masks = tile_masks(self.result.probabilities, 0.5, 0)
        draw_extremes(
            extremes, self.result.ids, self.images, truth=self.result.truth, predictions=masks, scores=self.scores
        )
        if self.histories:
            endings.append("_training.png")
            draw_folds_history(f"{stem}_training.png", self.histories)
        write_json(summary, facts | self.summary)
        return endings


def read_history(recipe: Recipe) -> pd.DataFrame | None:
    """Read the history.csv of the training that made weights; None where it is not, or no longer, to be found.

    The epoch of the weights must have their score in it: another training may have written there since.
    """
    with contextlib.suppress(Exception):  # of a damaged file, pandas raises what it comes upon
        folder = Path(recipe.flags["log_dir"]) / recipe.model / recipe.fold
        history = pd.read_csv(folder / "history.csv", dtype=str).astype(float).astype({"epoch": int})  # to the last bit
        history = history.set_index("epoch", drop=False)
        if history["val_score"][recipe.epoch] == recipe.score:
            return history
    return None
