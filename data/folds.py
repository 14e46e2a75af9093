"""Stratified k-fold cross-validation: which tile validates in which fold, and reading a fold back."""

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data.errors import InputError
from data.fold_tree import FOLD_COLUMNS, KINDS, write_fold_tree
from data.kaggle import Dataset, check_train_csv, find_dataset, read_csv, read_depths
from data.mosaic import mosaic_groups
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
        """Fold (N,) in which each tile validates."""
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
        """Tenth of the depth's distribution, 0..9."""
        return _depth_class(table, 10)


class ByCoverageAndDepth(TGSDatasetPreprocessor):
    """Stratify by coverage class and quarter of the depth's distribution together."""

    def strata(self, table: pd.DataFrame, tiles: TileSet) -> np.ndarray:
        """Coverage class times 4 plus quarter of the depth's distribution."""
        return table["coverage_class"].to_numpy() * 4 + _depth_class(table, 4)


STRATIFICATIONS: dict[str, type[TGSDatasetPreprocessor]] = {
    "coverage": TGSDatasetPreprocessor,
    "depth": ByDepth,
    "coverage_depth": ByCoverageAndDepth,
}


def coverage_class(coverage: np.ndarray) -> np.ndarray:
    """Class of a coverage in 0..1: 0 = empty, 1 = (0, 10 %], ... 10 = (90 %, 100 %]."""
    return np.ceil(np.asarray(coverage) * 10 - 1e-9).astype(int)


def _depth_class(table: pd.DataFrame, classes: int) -> np.ndarray:
    if table["depth"].isna().any():
        missing = table["id"][table["depth"].isna()].iloc[0]
        raise InputError(f"no depth for the tile '{missing}' in depths.csv; add it, or use --stratify=coverage")
    edges = np.quantile(table["depth"], np.arange(1, classes) / classes)
    return np.searchsorted(edges, table["depth"])


# ---- reading a fold ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fold:
    """One fold's tiles. `fingerprint` names the whole split, so that weights of different splits do not mix."""

    name: str
    train: TileSet
    val: TileSet
    fingerprint: str
    count: int  # folds in the split

    @property
    def digest(self) -> str:
        """Sixteen hex digits that name the content of all tiles, in their order."""
        content = hashlib.sha256()
        for part in (self.train, self.val):
            content.update(" ".join(part.ids).encode())
            content.update(part.images)
            content.update(part.masks)
        return content.hexdigest()[:16]


def list_folds(data_path: str | Path) -> list[Path]:
    """The fold folders that `data_path` names: itself, or every `fold_*` in it, in order of number."""
    root = Path(data_path)
    if (root / "train").is_dir():
        return [root]
    folds = [path for path in root.glob("fold_*") if path.is_dir() and path.name[5:].isdigit()]
    if not folds:
        raise InputError(f"no fold in {root}; run tgs_preprocess.py first, or give --data_path=folds/fold_0")
    return sorted(folds, key=lambda path: int(path.name[5:]))


def read_fold(path: str | Path) -> Fold:
    """Read a fold written by tgs_preprocess.py, checked against the folds.csv beside it.

    Raises:
        InputError: no folds.csv, or one that nothing here would write; tiles that differ from it (edited, dangling,
            exchanged), or anything read_tiles refuses.
    """
    path = Path(path)
    table = read_folds_csv(path.parent)
    train, val = (read_part(path, part, table) for part in ("train", "val"))
    return Fold(path.name, train, val, fingerprint(table), table["fold"].nunique())


def read_part(path: Path, part: str, table: pd.DataFrame) -> TileSet:
    """Read the tiles of one `part` ("train" or "val") of a fold; `table` is its folds.csv."""
    folders = [path / part / kind for kind in KINDS]
    tiles = read_tiles(*folders)
    for link in (folder / f"{name}.png" for folder in folders for name in tiles.ids):
        if link.is_symlink() and os.path.basename(os.readlink(link)) != link.name:
            raise InputError(f"{link} leads to the tile {os.readlink(link)}; run tgs_preprocess.py again")
    in_val = table["fold"] == path.name.removeprefix("fold_")
    expected = table["id"][in_val if part == "val" else ~in_val]
    if odd := sorted(set(tiles.ids) ^ set(expected)):
        raise InputError(
            f"{path / part} and {path.parent / 'folds.csv'} disagree about the tile '{odd[0]}'; "
            "run tgs_preprocess.py again"
        )
    return tiles


def read_folds_csv(folds_path: str | Path) -> pd.DataFrame:
    """Read folds.csv of a folds folder, as text."""
    path = Path(folds_path) / "folds.csv"
    if not path.is_file():
        raise InputError(f"no {path}; run tgs_preprocess.py (again, if it was interrupted)")
    table = read_csv(path, FOLD_COLUMNS)
    count = table["fold"].nunique()
    for line in table.index[~table["fold"].isin([str(fold) for fold in range(count)])]:
        raise InputError(
            f"{path} line {line}: fold '{table['fold'][line]}' of {count}, counted from 0; run tgs_preprocess.py again"
        )
    return table


def fingerprint(table: pd.DataFrame) -> str:
    """Sixteen hex digits that name a split: which id validates in which fold."""
    pairs = sorted(f"{name} {fold}\n" for name, fold in zip(table["id"], table["fold"], strict=True))
    return hashlib.sha256("".join(pairs).encode()).hexdigest()[:16]
