"""Stratified k-fold cross-validation: which tile validates in which fold."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import InputError
from common.names import Entry
from data.folds.mosaic import mosaic_groups
from data.folds.tree import FOLD_COLUMNS, write_fold_tree
from data.kaggle.find import Dataset, find_dataset
from data.tables import check_train_csv, read_depths
from data.tiles import TileSet, read_tiles


class TGSDatasetPreprocessor:
    """Stratify by coverage class: empty, and tenths of the tile.

    Turns a data set into folds of symlinks. To stratify by another quality, override `strata` and add the class to
    `STRATIFICATIONS`:

        class ByBrightness(TGSDatasetPreprocessor):
            def strata(self, table, tiles):
                return pd.qcut(tiles.images.mean(axis=(1, 2)), 10, labels=False, duplicates="drop")
    """

    def __init__(
        self,
        data_path: str | Path = "data/tgs",
        folds_path: str | Path = "folds",
        *,
        n_folds: int = 5,
        group: str = "none",
        seed: int = 1,
        copy: bool = False,
    ):
        """Set the job up; `group` is "none" or "mosaic", `copy` writes copies where there are no symlinks."""
        self.data_path, self.folds_path = Path(data_path), Path(folds_path)
        self.n_folds, self.group, self.seed, self.copy = n_folds, group, seed, copy

    def strata(self, table: pd.DataFrame, tiles: TileSet) -> np.ndarray:
        """Class of each tile (N,), integers; every fold gets its share of every class.

        `table` has a row a tile, in the order of `tiles`: id, coverage (0..1), coverage_class, depth (NaN = unknown).
        """
        return table["coverage_class"].to_numpy()

    def run(self) -> tuple[pd.DataFrame, TileSet]:
        """Read, check, split and write everything; returns the table of folds.csv and the tiles, row by row."""
        dataset = find_dataset(self.data_path)
        for folder in (dataset.images, dataset.masks):
            if self.folds_path.resolve().is_relative_to(folder.resolve()):
                raise InputError(f"--folds_path={self.folds_path} lies among the tiles of {folder}; choose another")
        tiles = read_tiles(dataset.images, dataset.masks)
        table = self._describe(dataset, tiles)
        table["fold"] = self._split(table, tiles)
        table = table[list(FOLD_COLUMNS)]
        write_fold_tree(self.folds_path, table, dataset.images, dataset.masks, copy=self.copy)
        return table, tiles

    def _describe(self, dataset: Dataset, tiles: TileSet) -> pd.DataFrame:
        if dataset.train_csv:
            check_train_csv(dataset.train_csv, tiles)
        depths = read_depths(dataset.depths_csv) if dataset.depths_csv else {}
        groups = mosaic_groups(tiles.images) if self.group == "mosaic" else np.arange(len(tiles))
        return pd.DataFrame(
            {
                "id": tiles.ids,
                "coverage": tiles.coverage.round(6),
                "coverage_class": coverage_class(tiles.coverage),
                "depth": [depths.get(name, np.nan) for name in tiles.ids],
                "group": groups,
            }
        )

    def _split(self, table: pd.DataFrame, tiles: TileSet) -> np.ndarray:
        """Choose the fold (N,) in which each tile validates."""
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # half a second, spared to training

        if len(table) < 2 * self.n_folds:
            raise InputError(f"{len(table)} tiles in {self.data_path} are too few for {self.n_folds} folds")
        classes = pd.Series(np.asarray(self.strata(table, tiles)))
        if len(classes) != len(table) or classes.isna().any() or classes.dtype.kind == "f":
            raise InputError(f"strata() of {type(self).__name__} must give a whole number or a name for every tile")
        codes, folds = classes.factorize()[0], np.empty(len(table), int)
        splitter = StratifiedKFold if self.group == "none" else StratifiedGroupKFold
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a class with fewer tiles than folds: spread as can be
                split = splitter(self.n_folds, shuffle=True, random_state=self.seed).split(codes, codes, table["group"])
                for fold, (_, validation) in enumerate(split):
                    folds[validation] = fold
        except ValueError as error:  # too few groups, or every class has fewer tiles than folds
            reason = str(error).rstrip(".")
            raise InputError(
                f"{self.data_path} does not split into {self.n_folds} folds ({reason}); use fewer"
            ) from None
        return folds


class ByDepth(TGSDatasetPreprocessor):
    """Stratify by tenths of the depth's distribution."""

    def strata(self, table: pd.DataFrame, tiles: TileSet) -> np.ndarray:
        """Tell the tenth of the depth's distribution, 0..9."""
        return _depth_class(table, 10)


class ByCoverageAndDepth(TGSDatasetPreprocessor):
    """Stratify by coverage class and quarter of the depth's distribution together."""

    def strata(self, table: pd.DataFrame, tiles: TileSet) -> np.ndarray:
        """Join coverage class, times 4, and quarter of the depth's distribution."""
        return table["coverage_class"].to_numpy() * 4 + _depth_class(table, 4)


STRATIFICATIONS: dict[str, Entry] = {  # the functions make a TGSDatasetPreprocessor
    "coverage": Entry("Stratify by coverage class: empty, and tenths of the tile.", TGSDatasetPreprocessor),
    "depth": Entry("Stratify by tenths of the depth's distribution.", ByDepth),
    "coverage_depth": Entry(
        "Stratify by coverage class and quarter of the depth's distribution together.", ByCoverageAndDepth
    ),
}


def coverage_class(coverage: np.ndarray) -> np.ndarray:
    """Tell the class of a coverage in 0..1: 0 = empty, 1 = (0, 10 %], ... 10 = (90 %, 100 %]."""
    return np.ceil(np.asarray(coverage) * 10 - 1e-9).astype(int)


def _depth_class(table: pd.DataFrame, classes: int) -> np.ndarray:
    if table["depth"].isna().any():
        missing = table["id"][table["depth"].isna()].iloc[0]
        raise InputError(f"no depth for the tile '{missing}' in depths.csv; add it, or use --stratify=coverage")
    edges = np.quantile(table["depth"], np.arange(1, classes) / classes)
    return np.searchsorted(edges, table["depth"])
