"""Writing the folds: a tree of symlinks that appears whole, and never costs the user a file of their own."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from data.errors import InputError
from data.files import make_folder, replacing
from data.kaggle import read_csv

FOLD_COLUMNS = ("id", "fold", "coverage", "coverage_class", "depth", "group")
PARTS = ("train", "val")
KINDS = ("images", "masks")


def write_fold_tree(folds_path: Path, table: pd.DataFrame, images: Path, masks: Path, *, copy: bool) -> None:
    """Write fold_k/{train,val}/{images,masks}/<id>.png and folds.csv, replacing those of an earlier run.

    The new tree is built aside. Then folds.csv goes, old and new folds change places, and folds.csv comes last:
    no folds.csv means no folds, so an interruption between the steps cannot pass for a split.

    Raises:
        InputError: no symlinks on this file system (and `copy` is off), or a file in the way that is not ours.
    """
    make_folder(folds_path)
    for leftover in folds_path.glob(".new-*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    old = sorted(path for path in folds_path.glob("fold_*") if path.name[5:].isdigit())
    _refuse_foreign(folds_path, old)
    try:
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folds_path) as scratch:
            new = Path(scratch)
            folds = sorted(table["fold"].unique())
            sources = dict(zip(KINDS, (images, masks), strict=True))
            for fold, part, kind in itertools.product(folds, PARTS, KINDS):
                place = Path(f"fold_{fold}", part, kind)
                ids = table["id"][(table["fold"] == fold) == (part == "val")]
                _fill(new / place, folds_path / place, sources[kind], ids, copy=copy)
            (folds_path / "folds.csv").unlink(missing_ok=True)
            for path in old:
                path.rename(new / f"old_{path.name}")
            for fold in folds:
                (new / f"fold_{fold}").rename(folds_path / f"fold_{fold}")
            with replacing(folds_path / "folds.csv") as temporary:
                table.to_csv(temporary, index=False)
    except OSError as error:
        raise InputError(f"cannot write {folds_path}: {error.strerror} ({error.filename})") from None


def _fill(folder: Path, final: Path, source: Path, ids: Iterable[str], *, copy: bool) -> None:
    """Link (or copy) the tiles `ids` of folder `source` into the new `folder`, which will be moved to `final`."""
    folder.mkdir(parents=True)
    relative = os.path.relpath(source.resolve(), final.absolute().parent.resolve() / final.name)
    for name in ids:
        file = f"{name}.png"
        if copy:
            shutil.copyfile(source / file, folder / file)
            continue
        try:
            os.symlink(f"{relative}/{file}", folder / file)
        except (OSError, NotImplementedError):
            raise InputError(f"{final} is on a file system without symlinks; add --copy=True") from None


def _refuse_foreign(folds_path: Path, folds: list[Path]) -> None:
    """InputError if an old fold holds anything that an earlier run did not write: a link or a copy of a listed tile."""
    listed = set()
    if folds and (folds_path / "folds.csv").is_file():
        listed = set(read_csv(folds_path / "folds.csv", FOLD_COLUMNS)["id"] + ".png")
    expected = {(part, kind) for part in PARTS for kind in KINDS}
    for fold in folds:
        for folder, _, files in os.walk(fold):
            place = Path(folder).relative_to(fold).parts
            for name in files:
                ours = place in expected and (name in listed or os.path.islink(os.path.join(folder, name)))
                if not ours:
                    raise InputError(
                        f"{os.path.join(folder, name)} was not written by tgs_preprocess.py; move it away and run again"
                    )
