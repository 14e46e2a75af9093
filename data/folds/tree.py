"""Writing the folds: a tree of symlinks that appears whole, and never costs the user a file of their own."""

import filecmp
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from common.errors import InputError
from common.files import check_names, replacing
from common.locks import held

FOLD_COLUMNS = ("id", "fold", "coverage", "coverage_class", "depth", "group")
SPLITS = ("train", "val")
FOLDERS = ("images", "masks")  # in each
PLACES = tuple(itertools.product(SPLITS, FOLDERS))
SCRATCH = ".tgs_preprocess-"


def write_fold_tree(folds_path: Path, table: pd.DataFrame, images: Path, masks: Path, *, copy: bool) -> None:
    """Write fold_k/{train,val}/{images,masks}/<id>.png and folds.csv, replacing those of an earlier run.

    The new tree is built aside. Then folds.csv goes, old and new folds change places, and folds.csv comes last:
    no folds.csv means no folds, so an interruption between the steps cannot pass for a split.

    Raises:
        InputError: no symlinks on this file system (and `copy` is off), a file in the way that is not ours, or another
            run that is writing there.
    """
    sources = dict(zip(FOLDERS, (images, masks), strict=True))
    try:
        with held(folds_path), tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folds_path) as scratch:
            new = Path(scratch)
            for leftover in set(folds_path.glob(f"{SCRATCH}*")) - {new}:  # of a run that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            old = sorted(path for path in folds_path.glob("fold_*") if path.name[5:].isdigit())
            for foreign in (file for path in old for file in _foreign(path, sources)):
                raise InputError(f"{foreign} was not written by tgs_preprocess.py; move it away and run again")
            check_names(table["id"], new)
            folds = sorted(table["fold"].unique())
            for fold, (split, folder) in itertools.product(folds, PLACES):
                place = Path(f"fold_{fold}", split, folder)
                names = table["id"][(table["fold"] == fold) == (split == "val")] + ".png"
                (new / place).mkdir(parents=True)
                way = _way(folds_path / place, sources[folder])
                for name in names:
                    if copy:
                        shutil.copyfile(sources[folder] / name, new / place / name)
                    else:
                        os.symlink(f"{way}/{name}", new / place / name)
            (folds_path / "folds.csv").unlink(missing_ok=True)
            for path in old:
                path.rename(new / f"old_{path.name}")
            for fold in folds:
                (new / f"fold_{fold}").rename(folds_path / f"fold_{fold}")
            with replacing(folds_path / "folds.csv") as temporary:
                table.to_csv(temporary, index=False)
    except OSError as error:
        place = error.filename2 or error.filename or folds_path
        hint = "" if copy else "; if this file system has no symlinks, add --copy=True"
        raise InputError(f"cannot write {place}: {error.strerror or error}{hint}") from None


def _way(folder: Path, source: Path) -> str:
    """Find the relative path from `folder`, which need not exist yet, to folder `source`.

    As the two were named where that leads there, so that a link such as data/tgs -> /mnt/tgs stays part of the way
    and the project can be moved; else between the places where they really lie.
    """
    way = os.path.relpath(source, folder)
    if os.path.realpath(folder / way) == os.path.realpath(source):
        return way
    return os.path.relpath(os.path.realpath(source), os.path.realpath(folder))


def _foreign(fold: Path, sources: dict[str, Path]) -> Iterator[Path]:
    """Yield what an old fold holds beside links as they are made here and copies of tiles that are still there."""
    if fold.is_symlink() or not fold.is_dir():
        yield fold
    for folder, folders, files in os.walk(fold):
        place = Path(folder).relative_to(fold).parts
        for name in folders:
            path = Path(folder, name)
            if not any((*place, name) == known[: len(place) + 1] for known in PLACES) or path.is_symlink():
                yield path
        for name in files:
            path = Path(folder, name)
            if place not in PLACES or not _is_ours(path, sources[place[1]] / name):
                yield path


def _is_ours(path: Path, tile: Path) -> bool:
    """Tell whether nothing is lost with an old fold's file: a relative link to such a tile, or a copy of this one."""
    if path.is_symlink():
        target = os.readlink(path)
        return not os.path.isabs(target) and target.endswith(f"/{tile.parent.name}/{tile.name}")
    return tile.is_file() and filecmp.cmp(path, tile, shallow=False)
