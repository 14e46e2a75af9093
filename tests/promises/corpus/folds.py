"""Folds and folds.csv, edited, damaged or of another split."""

from collections.abc import Callable
from pathlib import Path

import tgs_preprocess
import tgs_train
from tests.promises.corpus.commands import OOF, PREPROCESS, TINY, TRAIN, TRAIN_ALL, Case
from tests.promises.corpus.damage import (
    BEST,
    Damage,
    both,
    change,
    copied,
    edit,
    folder_at,
    forbid,
    link_at,
    move,
    nothing,
    put,
    remove,
)
from tests.promises.corpus.tiles import GOOD, IMAGE, MASK

TABLE, FOLD = "folds/folds.csv", "folds/fold_0"


def ids_of(project: Path, part: str) -> list[str]:
    return sorted(path.stem for path in (project / FOLD / part / "images").iterdir())


def of_both_kinds(how: Callable[[Path, Path], object]) -> Damage:
    """Do something to image and mask of fold_0's first validation tile: to the link in val and its place in train."""

    def damage(project: Path) -> None:
        name = ids_of(project, "val")[0]
        for kind in ("images", "masks"):
            how(*(project / FOLD / part / kind / f"{name}.png" for part in ("val", "train")))

    return damage


def exchange(project: Path) -> None:
    """Let the links of two training tiles lead to each other's images."""
    first, second = (project / FOLD / "train/images" / f"{name}.png" for name in ids_of(project, "train")[:2])
    first.rename(project / "aside")
    second.rename(first)
    (project / "aside").rename(second)


def emptied(part: str) -> Damage:
    folders = [f"{FOLD}/{part}/{kind}" for kind in ("images", "masks")]
    return both(*(remove(folder) for folder in folders), *(folder_at(folder) for folder in folders))


LINKED = "is a link to ../../../../tgs/train/images/b.png, and there is no /"
IMAGE_LINK, MASK_LINK = f"{FOLD}/train/images/b.png", f"{FOLD}/train/masks/b.png"
DISAGREE = f"{FOLD}/train and {TABLE} disagree about the tile '", f"{FOLD}/val and {TABLE} disagree about the tile '"

FOLDS: dict[str, Case] = {
    "no folds.csv": (remove(TABLE), TRAIN, f"no {TABLE}; run tgs_preprocess.py"),
    "no folds.csv, all folds": (remove(TABLE), TRAIN_ALL, f"no {TABLE}; run tgs_preprocess.py"),
    "folds.csv empty": (put(TABLE, ""), TRAIN, f"{TABLE} is empty"),
    "folds.csv of another program": (put(TABLE, "id,fold\na,0\n"), TRAIN, f"{TABLE} has the columns id,fold"),
    "folds.csv, semicolons": (
        change(TABLE, lambda c: c.replace(b",", b";")),
        TRAIN,
        f"{TABLE} has the columns id;fold",
    ),
    "folds.csv, a path as id": (edit(TABLE, "\nb,", "\n../b,"), TRAIN, f"{TABLE} line 3: '../b' cannot be an id"),
    "folds.csv, an id twice": (edit(TABLE, "\nb,", "\na,"), TRAIN, f"{TABLE} line 3 has 'a' a second time"),
    "folds.csv, id NaN": (edit(TABLE, "\nb,", "\nNaN,"), TRAIN, f"{FOLD}/"),
    "folds.csv, a row removed": (change(TABLE, lambda c: c[: c.rindex(b"\nl,") + 1]), TRAIN, f"{FOLD}/"),
    "folds.csv, fold 7 of 2": (edit(TABLE, "b,1,", "b,7,"), TRAIN, f"{TABLE} line 3: fold '7' of 3, counted from 0"),
    "folds.csv, fold NaN": (edit(TABLE, "b,1,", "b,nan,"), TRAIN, f"{TABLE} line 3: fold 'nan' of 3, counted from 0"),
    "folds.csv, a tile moved": (edit(TABLE, "b,1,", "b,0,"), TRAIN, DISAGREE[0] + "b'; run tgs_preprocess.py again"),
    "folds.csv unreadable": (forbid(TABLE), TRAIN, f"cannot read {TABLE}: Permission denied"),
    "folds.csv edited, out of fold": (
        edit(TABLE, "b,1,", "b,0,"),
        OOF,
        f"{BEST}.weights.h5 was trained on another split",
    ),
    "no fold": (nothing, (tgs_train.main, "--data_path=tgs/test", *TINY), "no fold in tgs/test; run tgs_preprocess.py"),
    "a file as fold": (nothing, (tgs_train.main, "--data_path=submission.csv", *TINY), "no fold in submission.csv"),
    "renamed": (move(FOLD, "folds/fold_9"), (tgs_train.main, "--data_path=folds/fold_9", *TINY), "folds/fold_9/"),
    "links that lead nowhere": (remove("tgs/train/images"), TRAIN, f"{IMAGE_LINK} {LINKED}"),
    "the tiles moved": (move("tgs", "elsewhere"), TRAIN, f"{IMAGE_LINK} {LINKED}"),
    "copied without the tiles": (
        copied("folds", "../copies/of/folds"),
        (tgs_train.main, "--data_path=../copies/of/folds/fold_0", *TINY),
        f"../copies/of/folds/fold_0/train/images/b.png {LINKED}",
    ),
    "a link to folds that moved": (
        both(link_at("linked", "folds"), move("folds", "elsewhere")),
        (tgs_train.main, "--data_path=linked", *TINY),
        "linked is a link to folds, and there is no /",
    ),
    "folds.csv a link that leads nowhere": (
        link_at(TABLE, "gone"),
        TRAIN,
        f"{TABLE} is a link to gone, and there",
    ),
    "a link that leads nowhere": (
        remove(IMAGE),
        TRAIN,
        f"{IMAGE_LINK} {LINKED}",
    ),
    "a mask's link that leads nowhere": (
        remove(MASK),
        TRAIN,
        f"{MASK_LINK} is a link to ../../../../{MASK}, and",
    ),
    "links exchanged": (exchange, TRAIN, f"{FOLD}/train/images/"),
    "a tile in both parts": (of_both_kinds(lambda val, train: train.symlink_to(val.readlink())), TRAIN, DISAGREE[0]),
    "a tile moved": (of_both_kinds(lambda val, train: val.rename(train)), TRAIN, DISAGREE[0]),
    "a tile removed": (of_both_kinds(lambda val, train: val.unlink()), TRAIN, DISAGREE[1]),
    "a tile under another id": (
        of_both_kinds(lambda val, train: val.rename(val.with_name("new.png"))),
        TRAIN,
        f"{FOLD}/val",
    ),
    "a mask removed": (remove(f"{FOLD}/train/masks/b.png"), TRAIN, f"no mask for {FOLD}/train/images/b.png"),
    "empty val": (emptied("val"), TRAIN, f"no .png in {FOLD}/val/images"),
    "empty train": (emptied("train"), TRAIN, f"no .png in {FOLD}/train/images"),
    "no val": (remove(f"{FOLD}/val"), TRAIN, f"cannot read the folder {FOLD}/val/images: No such file"),
    "a foreign file": (put(f"{FOLD}/train/images/a.txt", ""), TRAIN, f"{FOLD}/train/images/a.txt is not a .png"),
    "a tile damaged later": (put(IMAGE, GOOD[:-20]), TRAIN, f"{FOLD}/train/images/b.png is truncated"),
    "an unreadable folder": (
        forbid(f"{FOLD}/val/masks"),
        TRAIN,
        f"cannot read the folder {FOLD}/val/masks: Permission",
    ),
    "something of the user's in the way": (
        put("folds/fold_1/notes.txt", "mine"),
        PREPROCESS,
        "folds/fold_1/notes.txt was not written by tgs_preprocess.py",
    ),
    "too few tiles": (
        nothing,
        (tgs_preprocess.main, "--data_path=tgs", "--fold=7"),
        "12 tiles in tgs are too few for 7",
    ),
}
