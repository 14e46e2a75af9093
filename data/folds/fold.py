"""Reading a fold back, checked against the split that it is of."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.digests import digest
from common.errors import InputError, refuse_broken_link
from common.files import named
from data.folds.tree import FOLD_COLUMNS, FOLDERS, SPLITS
from data.kaggle.zips import UNPACKED
from data.tables import read_csv
from data.tiles import TileSet, read_tiles


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
        splits = (self.train, self.val)
        return digest(*(part for tiles in splits for part in (" ".join(tiles.ids), tiles.images, tiles.masks)))[:16]


def list_folds(data_path: str | Path) -> list[Path]:
    """List the fold folders that `data_path` names: itself, or every `fold_*` in it, in order of number."""
    root = named(data_path)
    if (root / "train").is_dir():
        return [root]
    folds = [path for path in root.glob("fold_*") if path.is_dir() and path.name[5:].isdigit()]
    if not folds:
        for path in (root / "train", *root.glob("fold_*")):
            refuse_broken_link(path)
        raise InputError(f"no fold in {root}; run tgs_preprocess.py first, or give --data_path=folds/fold_0")
    return sorted(folds, key=lambda path: int(path.name[5:]))


def _raw_folder(path: str | Path) -> Path | None:
    """Find the folder that tgs_preprocess.py made the links of a fold from; None where the fold holds copies."""
    images = (Path(path) / "train" / "images").resolve()
    link = next((file for file in images.glob("*.png") if file.is_symlink()), None)
    if link is None:
        return None
    tiles = Path(os.path.normpath(images / os.readlink(link))).parent
    folder = tiles.parents[1] if tiles.parent.name == "train" else tiles.parent
    near = os.path.relpath(folder)
    return folder if near.startswith("..") else Path(near)


def find_test_tiles(path: str | Path) -> Path | None:
    """Find tiles for a first prediction: the test tiles beside those of a fold; None where they are in data/tgs."""
    for folder in (_raw_folder(path), UNPACKED):
        if folder and ((folder / "test/images").is_dir() or (folder / "test.zip").is_file()):
            return None if folder.resolve() == UNPACKED.resolve() else folder
    return Path(path) / "val/images"


def read_fold(path: str | Path) -> Fold:
    """Read a fold written by tgs_preprocess.py, checked against the folds.csv beside it.

    Raises:
        InputError: no folds.csv, or one that nothing here would write; tiles that differ from it (edited, dangling,
            exchanged), or anything read_tiles refuses.
    """
    path = named(path)
    table = read_folds_csv(path.parent)
    train, val = (read_split(path, split, table) for split in SPLITS)
    return Fold(path.name, train, val, fingerprint(table), table["fold"].nunique())


def read_split(path: Path, split: str, table: pd.DataFrame) -> TileSet:
    """Read the tiles of one `split` ("train" or "val") of a fold; `table` is its folds.csv."""
    folders = [path / split / folder for folder in FOLDERS]
    tiles = read_tiles(*folders)
    for link in (folder / f"{name}.png" for folder in folders for name in tiles.ids):
        if link.is_symlink() and os.path.basename(os.readlink(link)) != link.name:
            raise InputError(f"{link} leads to the tile {os.readlink(link)}; run tgs_preprocess.py again")
    in_val = table["fold"] == path.name.removeprefix("fold_")
    expected = table["id"][in_val if split == "val" else ~in_val]
    if odd := sorted(set(tiles.ids) ^ set(expected)):
        raise InputError(
            f"{path / split} and {path.parent / 'folds.csv'} disagree about the tile '{odd[0]}'; "
            "run tgs_preprocess.py again"
        )
    return tiles


def read_folds_csv(folds_path: str | Path) -> pd.DataFrame:
    """Read folds.csv of a folds folder, as text."""
    path = Path(folds_path) / "folds.csv"
    if not path.is_file():
        refuse_broken_link(path)
        raise InputError(f"no {path}; run tgs_preprocess.py (again, if it was interrupted)")
    table = read_csv(path, FOLD_COLUMNS)
    count = table["fold"].nunique()
    for line in table.index[~table["fold"].isin([str(fold) for fold in range(count)])]:
        raise InputError(
            f"{path} line {line}: fold '{table['fold'][line]}' of {count}, counted from 0; run tgs_preprocess.py again"
        )
    return table


def fingerprint(table: pd.DataFrame) -> str:
    """Make sixteen hex digits that name a split: which id validates in which fold."""
    pairs = sorted(f"{name} {fold}\n" for name, fold in zip(table["id"], table["fold"], strict=True))
    return digest(*pairs)[:16]
