"""A corpus of wrong input: each case ends with exit code 2 and one line that names the file, and changes nothing."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tgs_predict
import tgs_preprocess
import tgs_train
from models.checkpoints import RECIPE, Progress, TrainingState
from models.learner import Learner
from models.pretrained import load_encoder
from models.ring import Solo
from models.unet import make_model
from tests.corpus import (
    BEST,
    Damage,
    Touch,
    both,
    change,
    declaring,
    edit,
    encrypted,
    first_dataset,
    folder_at,
    forbid,
    hostile_archive,
    in_its_place,
    link_at,
    make_project,
    move,
    nothing,
    pipe_at,
    put,
    recipe,
    remove,
    restate,
    safetensors,
    tensor,
    tree,
    vouched,
    with_hdf5,
    zipped,
)
from tests.pngs import GRAY_ALPHA_TYPE, PALETTE_TYPE, RGB_TYPE, RGBA_TYPE, build, chunk, png
from tests.privileges import as_ordinary_user
from tests.scripts import error_line, run_here

PREPROCESS = (tgs_preprocess.main, "--data_path=tgs", "--fold=2")
BY_DEPTH = (*PREPROCESS, "--stratify=depth")
UNPACK = (tgs_preprocess.main, "--data_path=a.zip", "--fold=2")
TINY = ("--model=tiny", "--target_size=32", "--batch_size=8", "--epochs=2")
TRAIN = (tgs_train.main, "--data_path=folds/fold_0", *TINY)
TRAIN_ALL = (tgs_train.main, "--data_path=folds", *TINY)
ENCODER = (*TRAIN, "--encoder_weights=r.safetensors")
PREDICT = (tgs_predict.main, f"--file_name={BEST}.weights.h5", "--data_path=tgs")
USE_FOLDS = (tgs_predict.main, "--use_folds", "--model=tiny", "--allow_missing", "--data_path=tgs")
OOF = (tgs_predict.main, "--oof", "--model=tiny", "--allow_missing")
VALIDATE = (tgs_predict.main, "--validate=submission.csv", "--data_path=tgs")

Case = tuple[Damage, tuple, str]  # what is done to the project, the command, how the line begins

GRAY = np.random.default_rng(0).integers(0, 256, (101, 101), np.uint8)
SALT = (GRAY > 100).astype(np.uint8)
GOOD = png(GRAY)
LINES = [b"\0" + line.tobytes() for line in GRAY]


def rgb(*channels: np.ndarray) -> np.ndarray:
    return np.stack(channels, axis=-1)


def flipped(at: int) -> bytes:
    """A good tile with one bit changed."""
    content = bytearray(GOOD)
    content[at] ^= 4
    return bytes(content)


def cmyk() -> bytes:
    """A JPEG of four inks."""
    file = io.BytesIO()
    Image.fromarray(rgb(GRAY, 255 - GRAY, GRAY, GRAY), "CMYK").save(file, "JPEG")
    return file.getvalue()


# ---- images and masks --------------------------------------------------------------------------------------

BAD_PNGS = {
    **{f"truncated after {n} bytes": (GOOD[:n], "is truncated") for n in (8, 12, 20, 33, 41, 60, 1000, 5000)},
    **{f"truncated by {n} bytes": (GOOD[:-n], "is truncated") for n in (1, 12)},
    "truncated in the signature": (GOOD[:5], "is not a PNG"),
    "bit flipped in the signature": (flipped(1), "is not a PNG"),
    **{f"bit flipped at {n}": (flipped(n), "is damaged (a checksum differs)") for n in (18, 25, 31, 45, 5000, -2)},
    "bit flipped in a length": (flipped(33), "is truncated"),
    "zero bytes": (b"", "is empty"),
    "zeros": (bytes(500), "is not a PNG"),
    "a text file": ("id,rle_mask\n", "is not a PNG"),
    "100 x 101": (png(GRAY[:, 1:]), "is 100x101 pixels; tiles are 101x101"),
    "101 x 128": (png(np.zeros((128, 101), np.uint8)), "is 101x128 pixels"),
    "0 x 0": (build([], width=0, height=0), "is 0x0 pixels"),
    **{f"{n} x {n} declared": (build(LINES, width=n, height=n), f"is {n}x{n} pixels") for n in (30000, 2**31 - 1)},
    "101 x 4294967295 declared": (build(LINES, height=2**32 - 1), "is 101x4294967295 pixels"),
    "palette": (png(GRAY, PALETTE_TYPE), "has a palette; tiles are gray"),
    "gray and alpha": (png(rgb(GRAY, GRAY), GRAY_ALPHA_TYPE), "has an alpha channel; tiles are gray"),
    "RGB and alpha": (png(rgb(GRAY, GRAY, GRAY, GRAY), RGBA_TYPE), "has an alpha channel"),
    "four inks in a PNG": (png(rgb(GRAY, 255 - GRAY, GRAY // 2, GRAY), RGBA_TYPE), "has an alpha channel"),
    "four inks in a JPEG": (cmyk(), "is not a PNG"),
    "colour": (png(rgb(GRAY, 255 - GRAY, GRAY), RGB_TYPE), "is in colour"),
    "interlaced": (build(LINES, interlacing=1), "is interlaced"),
    "an impossible depth": (build(LINES, depth=7), "is damaged (its header"),
    "pixels that do not inflate": (build(LINES, data=b"\x78\x9cno"), "is damaged (its pixels do not inflate"),
    "too few pixels": (build(LINES[1:]), "is damaged (too few or too many pixels"),
    "a bomb of pixels": (build([bytes(10**8)]), "is damaged (too few or too many pixels"),
    "an unknown filter": (build([b"\5" + LINES[0][1:], *LINES[1:]]), "is damaged (an unknown filter"),
    "no pixels": (GOOD[:33] + chunk(b"IEND", b""), "is damaged (too few or too many pixels"),
    "too long": (GOOD[:33] + chunk(b"tEXt", bytes(1 << 20)) + GOOD[33:], "has 10"),
}
IMAGE, MASK, TEST_IMAGE = "tgs/train/images/b.png", "tgs/train/masks/b.png", "tgs/test/images/y.png"

IMAGES: dict[str, Case] = {
    **{name: (put(IMAGE, content), PREPROCESS, f"{IMAGE} {said}") for name, (content, said) in BAD_PNGS.items()},
    "16 bits": (put(IMAGE, png(GRAY.astype(np.uint16))), PREPROCESS, f"{IMAGE} has 16 bits a pixel"),
    "1 bit": (put(IMAGE, build([bytes(14)] * 101, depth=1)), PREPROCESS, f"{IMAGE} has 1 bits a pixel"),
    "a directory": (folder_at(IMAGE), PREPROCESS, f"cannot read {IMAGE}: Is a directory"),
    "a broken link": (link_at(IMAGE, "gone.png"), PREPROCESS, f"cannot read {IMAGE}: No such file"),
    "a link to itself": (link_at(IMAGE, "b.png"), PREPROCESS, f"cannot read {IMAGE}: Too many levels"),
    "a pipe": (pipe_at(IMAGE), PREPROCESS, f"{IMAGE} is a pipe"),
    "a device": (link_at(IMAGE, "/dev/zero"), PREPROCESS, f"{IMAGE} is a pipe or a device"),
    "unreadable": (forbid(IMAGE), PREPROCESS, f"cannot read {IMAGE}: Permission denied"),
    "an unreadable folder": (forbid("tgs/train/images"), PREPROCESS, "cannot read the folder tgs/train/images"),
    "a folder not to be entered": (forbid("tgs/train/images", 0o600), PREPROCESS, "cannot read tgs/train/images/a.png"),
    "another ending": (move(IMAGE, "tgs/train/images/b.PNG"), PREPROCESS, "tgs/train/images/b.PNG is not a .png"),
    "a foreign file": (put("tgs/train/images/Thumbs.db", b""), PREPROCESS, "tgs/train/images/Thumbs.db is not"),
    "a line break": (move(IMAGE, "tgs/train/images/b\nc.png"), PREPROCESS, r"tgs/train/images/ has a file named 'b\nc"),
    "a backslash": (move(IMAGE, r"tgs/train/images/b\c.png"), PREPROCESS, r"tgs/train/images/ has a file named 'b\\c"),
    "no UTF-8": (put(b"tgs/train/images/\xff.png", b""), PREPROCESS, r"tgs/train/images/ has a file named '\udcff"),
    "none": (both(remove("tgs/train/images"), folder_at("tgs/train/images")), PREPROCESS, "no .png in tgs/train/im"),
    "no folder": (remove("tgs/train"), PREPROCESS, "no train/images in tgs"),
    "no data": (remove("tgs"), PREPROCESS, "no such folder or zip: tgs"),
    "to predict, truncated": (put(TEST_IMAGE, GOOD[:99]), PREDICT, f"{TEST_IMAGE} is truncated"),
    "to predict, 16 bits": (put(TEST_IMAGE, png(GRAY.astype(np.uint16))), PREDICT, f"{TEST_IMAGE} has 16 bits"),
    "to predict, broken link": (link_at(TEST_IMAGE, "gone"), PREDICT, f"cannot read {TEST_IMAGE}: No such file"),
    "to predict, last batch": (put(TEST_IMAGE, b""), (*PREDICT, "--batch_size=1"), f"{TEST_IMAGE} is empty"),
    "to predict, a line break": (move(TEST_IMAGE, "tgs/test/images/\n.png"), PREDICT, "tgs/test/images/ has a file na"),
    "to predict, packed": (both(remove("tgs/test"), put("tgs/test.zip", b"")), PREDICT, "tgs/test.zip is packed"),
    "to predict, none": (remove("tgs/test"), PREDICT, "no test/images and no .png in tgs"),
}

MASKS: dict[str, Case] = {
    **{
        name: (put(MASK, BAD_PNGS[name][0]), PREPROCESS, f"{MASK} {BAD_PNGS[name][1]}")
        for name in ("truncated after 60 bytes", "zero bytes", "100 x 101", "palette", "RGB and alpha", "colour")
    },
    "missing": (remove(MASK), PREPROCESS, f"no mask for {IMAGE}; expected {MASK}"),
    "extra": (put("tgs/train/masks/new.png", GOOD), PREPROCESS, "no image for tgs/train/masks/new.png"),
    "0 and 1": (put(MASK, png(SALT)), PREPROCESS, f"{MASK} has the value 1; a mask holds 0 and 255 only"),
    "0 and 255 in 16 bits": (put(MASK, png(SALT * np.uint16(255))), PREPROCESS, f"{MASK} has the value 255"),
    "gray": (put(MASK, GOOD), PREPROCESS, f"{MASK} has the value"),
    "inverted": (put(MASK, png(np.full((101, 101), 255, np.uint8))), PREPROCESS, "tgs/train.csv line 3: masks/b.png"),
    "of another tile": (both(remove(MASK), link_at(MASK, "l.png")), PREPROCESS, "tgs/train.csv line 3: masks/b.png"),
    "unreadable": (forbid(MASK), PREPROCESS, f"cannot read {MASK}: Permission denied"),
    "no folder": (remove("tgs/train/masks"), PREPROCESS, "cannot read the folder tgs/train/masks: No such file"),
}

# ---- CSVs ----------------------------------------------------------------------------------------------------

BAD_RLES = {
    "odd count": ("1 2 3", "odd count of numbers"),
    "start 0": ("0 5", "run '0 5': start and length count from 1"),
    "length 0": ("5 0", "run '5 0': start and length count from 1"),
    "negative": ("5 -1", "'-1' is not a pixel number"),
    "overlap": ("1 5 5 1", "run '5 1' overlaps"),
    "unsorted": ("9 1 2 1", "run '2 1' overlaps or precedes"),
    "behind the end": ("10201 2", "run '10201 2' ends behind the last pixel"),
    "a huge number": (f"1 {'9' * 6000}", "'99999999999999999999' is not a pixel number"),
    "a word": ("1 one", "'one' is not a pixel number"),
    "a fraction": ("1.5 2", "'1.5' is not a pixel number"),
    "NaN": ("nan", "'nan' is not a pixel number"),
}
BAD_CSVS = {  # for files of two columns, `id` and `{}`, where the first data row is replaced or more come behind
    "empty": ("", "is empty"),
    "header only": ("id,{}\n", "has a header and no rows"),
    "semicolons": ("id;{}\na;1\n", "has the columns id;"),
    "tabs": ("id\t{}\na\t1\n", "has the columns id\t"),
    "no header": ("a,1 1\n", "has the columns a,1 1"),
    "columns exchanged": ("{},id\n1 1,a\n", "has the columns "),
    "a value too many": ("id,{}\na,1 1,1\n", "line 2 has 3 values"),
    "a value too few": ("id,{}\na\n", "line 2 has 1 values"),
    "no id": ("id,{}\n,1 1\n", "line 2: the id is empty"),
    "an id twice": ("id,{}\na,1 1\na,1 1\n", "line 3 has 'a' a second time"),
    "a path as id": ("id,{}\n../a,1 1\n", "line 2: '../a' cannot be an id"),
    "a folder in an id": ("id,{}\na/b,1 1\n", "line 2: 'a/b' cannot be an id"),
    "a backslash in an id": ("id,{}\na\\b,1 1\n", r"line 2: 'a\\b' cannot be an id"),
    "a line break in an id": ('id,{}\n"a\nb",1 1\n', r"line 3: 'a\nb' cannot be an id"),
    "an open quote": ('id,{}\n"a,1 1\n', "is not a CSV of id,"),
}
SUBMISSION = "submission.csv"


def csv_cases(name: str, column: str, command: tuple, more: dict[str, tuple[str | bytes, str]]) -> dict[str, Case]:
    """Cases of one CSV: those that go for all, and `more` of text and what is said."""
    table = {case: (text.format(column), said) for case, (text, said) in BAD_CSVS.items()}
    table["UTF-16"] = (f"id,{column}\na,1\n".encode("utf-16"), "is not a CSV of id,")
    table["Latin-1"] = (f"id,{column}\n\xe4,1\n".encode("latin-1"), "is not a CSV of id,")
    return {
        f"{name}: {case}": (put(name, text), command, f"{name} {said}") for case, (text, said) in (table | more).items()
    }


CSVS: dict[str, Case] = {
    **csv_cases(
        "tgs/train.csv",
        "rle_mask",
        PREPROCESS,
        {
            f"RLE, {case}": (f"id,rle_mask\nb,{text}\n", f"line 2, id 'b': {said}")
            for case, (text, said) in BAD_RLES.items()
        }
        | {"id NaN": ("id,rle_mask\nNaN,1 1\n", "has the id 'NaN', for which there is no image")},
    ),
    **csv_cases(
        "tgs/depths.csv",
        "z",
        BY_DEPTH,
        {
            f"depth {z}": (f"id,z\na,{z}\n", f"line 2: the depth '{z}' is not a number")
            for z in ("", "deep", "nan", "inf")
        },
    ),
    "tgs/depths.csv: a tile without": (
        edit("tgs/depths.csv", "b,", "B,"),
        BY_DEPTH,
        "no depth for the tile 'b' in depths",
    ),
    **csv_cases(
        SUBMISSION,
        "rle_mask",
        VALIDATE,
        {
            f"RLE, {case}": (f"id,rle_mask\nx,\ny,{text}\nz,\n", f"line 3, id 'y': {said}")
            for case, (text, said) in BAD_RLES.items()
        }
        | {
            "an id missing": ("id,rle_mask\nx,\nz,\n", "lacks the id 'y' (1 missing)"),
            "an id too many": ("id,rle_mask\nx,\ny,\nz,\nNaN,\n", "has the id 'NaN', which is not asked for"),
        },
    ),
    **{
        f"{name}: {case}": (damage(name), command, f"cannot read {name}: {said}")
        for name, command in (("tgs/train.csv", PREPROCESS), ("tgs/depths.csv", PREPROCESS), (SUBMISSION, VALIDATE))
        for case, damage, said in (
            ("a directory", folder_at, "Is a directory"),
            ("a broken link", lambda name: link_at(name, "gone"), "No such file"),
            ("unreadable", forbid, "Permission denied"),
        )
    },
    "tgs/train.csv: a pipe": (pipe_at("tgs/train.csv"), PREPROCESS, "tgs/train.csv is a pipe"),
    "submission.csv: missing": (remove(SUBMISSION), VALIDATE, "cannot read submission.csv: No such file"),
    "sample_submission.csv: header": (
        put("tgs/sample_submission.csv", "id\nx\n"),
        VALIDATE,
        "tgs/sample_submission.csv has the columns id; expected id,rle_mask",
    ),
}

# ---- zips ----------------------------------------------------------------------------------------------------

TILES = {"images/a.png": GOOD, "masks/a.png": png(SALT * np.uint8(255))}
WHOLE = zipped("a.zip", TILES)


def inner(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


ZIPS: dict[str, Case] = {
    **{
        f"path escape by {name!a}": (zipped("a.zip", TILES | {name: b"evil"}), UNPACK, "a.zip holds '")
        for name in (
            "../pwned",
            "../../images/x.png",
            "images/../../x.png",
            "/tmp/images/x.png",
            "/etc/train.csv",
            "..\\images\\x.png",
            "\\images\\x.png",
            "C:\\images\\x.png",
            "C:images/x.png",
            "images/x\ny.png",
        )
    },
    "a link": (
        zipped("a.zip", TILES | {"images/b.png": b"/etc/passwd"}, link="images/b.png"),
        UNPACK,
        "a.zip holds the",
    ),
    "a link as folder": (zipped("a.zip", {"images": b"/tmp", **TILES}, link="images"), UNPACK, "a.zip holds the link"),
    "bomb: a member": (
        both(WHOLE, change("a.zip", declaring(65 << 20))),
        UNPACK,
        "a.zip holds 'images/a.png' of 65 MiB",
    ),
    "bomb: other files": (
        both(zipped("a.zip", {"a.txt": b"", "b.txt": b""}), change("a.zip", declaring((1 << 30) + 1))),
        UNPACK,
        "a.zip would unpack to more than 2 GiB",
    ),
    "bomb: a zip in it": (
        zipped("a.zip", {"train.zip": declaring(65 << 20)(inner(TILES))}),
        UNPACK,
        "train.zip in a.zip holds 'images/a.png' of 65 MiB",
    ),
    "longer than declared": (
        both(WHOLE, change("a.zip", declaring(9))),
        UNPACK,
        "a.zip cannot be unpacked (Bad CRC-32",
    ),
    **{
        f"truncated to {percent} %": (
            both(WHOLE, change("a.zip", lambda content, percent=percent: content[: len(content) * percent // 100])),
            UNPACK,
            "a.zip cannot be unpacked",
        )
        for percent in (0, 1, 50, 99)
    },
    "damaged": (both(WHOLE, change("a.zip", lambda c: c[:3000] + bytes(50) + c[3050:])), UNPACK, "a.zip cannot be unp"),
    "encrypted": (
        both(WHOLE, change("a.zip", encrypted)),
        UNPACK,
        "a.zip holds 'images/a.png' encrypted",
    ),
    "a text file": (put("a.zip", "id,rle_mask\n"), UNPACK, "a.zip cannot be unpacked (File is not a zip file)"),
    "without tiles": (zipped("a.zip", {"readme.txt": b"hi"}), UNPACK, "a.zip holds no labelled tiles"),
    "test tiles alone": (zipped("a.zip", {"test/images/x.png": GOOD}), UNPACK, "a.zip holds no labelled tiles"),
    "the same tile twice": (
        zipped("a.zip", TILES | {"x/images/a.png": GOOD}),
        UNPACK,
        "a.zip holds train/images/a.png twi",
    ),
    "LZMA": (
        zipped("a.zip", TILES, compression=zipfile.ZIP_LZMA),
        UNPACK,
        "a.zip holds 'images/a.png', which is not defl",
    ),
    "unreadable": (both(WHOLE, forbid("a.zip")), UNPACK, "cannot unpack a.zip: Permission denied"),
    "missing": (nothing, UNPACK, "no such folder or zip: a.zip"),
    "a folder named train.zip": (
        both(remove("tgs/train"), folder_at("tgs/train.zip")),
        PREPROCESS,
        "cannot unpack tgs/tr",
    ),
    "a broken link": (
        both(remove("tgs/train"), link_at("tgs/train.zip", "gone")),
        PREPROCESS,
        "cannot unpack tgs/train.",
    ),
    "nowhere to write": (both(WHOLE, put("data", "a file")), UNPACK, "cannot create the folder data/tgs"),
    "other tiles there": (
        both(WHOLE, lambda project: (project / "data/tgs/train").mkdir(parents=True)),
        UNPACK,
        "data/tgs/train exists and differs from the zip's",
    ),
}

# ---- folds ---------------------------------------------------------------------------------------------------

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
    "links that lead nowhere": (remove("tgs/train/images"), TRAIN, f"cannot read {FOLD}/train/images/"),
    "a link that leads nowhere": (remove(IMAGE), TRAIN, f"cannot read {FOLD}/train/images/b.png: No such file"),
    "a mask's link that leads nowhere": (remove(MASK), TRAIN, f"cannot read {FOLD}/train/masks/b.png: No such file"),
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

# ---- weights, recipes, states, pretrained encoders -------------------------------------------------------------

H5, JSON, STATE = f"{BEST}.weights.h5", f"{BEST}.json", "weights/tiny/fold_0_state/state.npz"
OTHER = f"{H5} does not hold the weights that fold_0_best.json describes"
NONE_OF_TINY = f"{H5} holds no weights of tiny ("
LINK = h5py.ExternalLink("other.h5", "/")


def object_array(content: bytes) -> bytes:
    """A state with a pickled object in it."""
    file = io.BytesIO()
    np.savez(file, progress=np.array([Touch()], dtype=object))
    return file.getvalue()


WEIGHTS: dict[str, Case] = {
    **{
        f"truncated by {n} bytes": (change(H5, lambda content, n=n: content[:-n]), PREDICT, OTHER)
        for n in (1, 999, 99999)
    },
    "a bit flipped": (
        change(H5, lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]),
        PREDICT,
        OTHER,
    ),
    "empty": (put(H5, b""), PREDICT, OTHER),
    "of another fold": (move("weights/tiny/fold_1_best.weights.h5", H5), PREDICT, OTHER),
    "missing": (remove(H5), PREDICT, f"no weights file {H5}"),
    "a directory": (folder_at(H5), PREDICT, f"no weights file {H5}"),
    "a broken link": (link_at(H5, "gone"), PREDICT, f"no weights file {H5}"),
    "unreadable": (forbid(H5), PREDICT, f"cannot read {H5}: Permission denied"),
    "another ending": (
        move(H5, "weights/w.h5"),
        (tgs_predict.main, "--file_name=weights/w.h5", "--data_path=tgs"),
        "weights/w.h5 does not end in .weights.h5",
    ),
    **{
        f"vouched for, {name}": (vouched(how), PREDICT, NONE_OF_TINY)
        for name, how in {
            "truncated": lambda content: content[: len(content) // 2],
            "truncated by a byte": lambda content: content[:-1],
            "empty": lambda _: b"",
            "a text file": lambda _: b"id,rle_mask\n",
            "a pickle": lambda _: pickle.dumps(Touch()),
            "a Keras archive with code": lambda _: hostile_archive(".keras"),
            "a whole model with code": lambda _: hostile_archive(".h5"),
            "an array of numbers": object_array,
            "text for numbers": in_its_place(lambda group, name: group.create_dataset(name, data=["pwned"])),
            "another shape": in_its_place(lambda group, name: group.create_dataset(name, data=np.zeros(7))),
            "more than all memory": in_its_place(
                lambda group, name: group.create_dataset(name, (2**40,), "f4", chunks=(1024,), compression="gzip")
            ),
            "numbers from another file": in_its_place(
                lambda group, name: group.create_dataset(name, (3,), "u1", external=[("submission.csv", 0, 3)])
            ),
            "a link to another file": in_its_place(lambda group, name: group.__setitem__(name, LINK)),
            "a layer missing": with_hdf5(lambda file: file.__delitem__(first_dataset(file).parent.parent.name)),
        }.items()
    },
    "another architecture": (recipe(model="resnet18"), PREDICT, f"{H5} holds no weights of resnet18 ("),
    "no such architecture": (recipe(model="../tiny"), PREDICT, f"{JSON} "),
    **{
        f"input size {size!r}": (recipe(target_size=size), PREDICT, f"{JSON} ")
        for size in (33, 0, -32, 1056, "32", 32.0, True, None)
    },
}

RECIPES: dict[str, Case] = {
    "missing": (remove(JSON), PREDICT, f"cannot read {JSON}: No such file"),
    "unreadable": (forbid(JSON), PREDICT, f"cannot read {JSON}: Permission denied"),
    "empty": (put(JSON, ""), PREDICT, f"{JSON} is not JSON"),
    "truncated": (change(JSON, lambda content: content[:100]), PREDICT, f"{JSON} is not JSON"),
    "a list": (put(JSON, "[]"), PREDICT, f"{JSON} holds no JSON object"),
    "deep": (put(JSON, "[" * 100000), PREDICT, f"{JSON} is not JSON"),
    "no text": (put(JSON, b"\xff\xfe"), PREDICT, f"{JSON} is not JSON"),
    **{f"without {key}": (recipe(**{key: ...}), PREDICT, f"{JSON} lacks '{key}'") for key in RECIPE},
    **{f"{key} a list": (recipe(**{key: []}), PREDICT, f"{JSON} lacks '{key}'") for key in RECIPE},
    "of other weights": (recipe(sha256="0" * 64), PREDICT, OTHER),
    "threshold 7": (recipe(threshold=7.0), PREDICT, f"{JSON} "),
    "threshold NaN": (recipe(threshold=float("nan")), PREDICT, f"{JSON} "),
    "of another fold": (recipe(fold="fold_1"), OOF, f"{H5} holds weights of fold_1"),
    "of a fold elsewhere": (recipe(fold="../fold_0"), OOF, f"{H5} holds weights of ../fold_0"),
    "of another split": (recipe(fingerprint="0" * 16), OOF, "weights/tiny/fold_1_best.weights.h5 and fold_0_best."),
    "of more folds": (recipe(folds=200), (*USE_FOLDS, "--allow_missing=False"), f"{JSON} "),
    "a fold missing": (
        both(remove("weights/tiny/fold_1_best.weights.h5")),
        (*USE_FOLDS, "--allow_missing=False"),
        "weights/tiny lacks weights of fold_1",
    ),
    "no weights": (remove("weights"), USE_FOLDS, "no fold_*_best.weights.h5 in weights/tiny"),
    **{
        f"out of fold, {name}": (put("weights/tiny/oof_best.json", content), PREDICT, "weights/tiny/oof_best.json ")
        for name, content in {
            "not JSON": "{",
            "a list": "[0.5]",
        }.items()
    },
    **{
        f"out of fold, {key} {value!r}": (
            lambda project, key=key, value=value: put(
                "weights/tiny/oof_best.json",
                json.dumps(
                    {"fingerprint": json.loads((project / JSON).read_text())["fingerprint"], "threshold": 0.5}
                    | {key: value}
                ),
            )(project),
            PREDICT,
            "weights/tiny/oof_best.json ",
        )
        for key, value in (("threshold", "high"), ("threshold", 7), ("min_area", "large"), ("min_area", -1))
    },
}


built_once = cache(make_model)


@cache
def learner() -> Learner:
    """A training of the tiny model, built once."""
    return Learner(model="tiny", target_size=32, steps=1, epochs=2, batch_size=8, ring=Solo())


RESUME = (lambda _: TrainingState(Path(STATE).parent, learner().variables).resume(Progress()),)
LOAD = (lambda _: load_encoder(learner().net, "r.safetensors"),)

STATES: dict[str, Case] = {
    "empty": (put(STATE, b""), TRAIN, f"{STATE} cannot be read"),
    "truncated": (change(STATE, lambda content: content[:-100]), RESUME, f"{STATE} cannot be read"),
    "a bit flipped": (
        change(STATE, lambda c: c[:5000] + bytes([c[5000] ^ 1]) + c[5001:]),
        RESUME,
        f"{STATE} cannot be re",
    ),
    "a pickle": (put(STATE, pickle.dumps(Touch())), RESUME, f"{STATE} cannot be read"),
    "a pickle in it": (change(STATE, object_array), RESUME, f"{STATE} cannot be read"),
    "a directory": (folder_at(STATE), RESUME, f"{STATE} cannot be read"),
    "unreadable": (forbid(STATE), RESUME, f"{STATE} cannot be read"),
    "of another input size": (nothing, (*TRAIN, "--target_size=64"), f"{STATE} was made with --target_size=32, not 64"),
    "of other folds": (
        lambda project: restate(fingerprint="0")(project / STATE),
        TRAIN,
        f"{STATE} was made with other f",
    ),
    "with epochs of text": (lambda project: restate(epoch="two")(project / STATE), RESUME, f"{STATE} cannot be read"),
    "of the future": (lambda project: restate(epoch=7)(project / STATE), RESUME, f"{STATE} "),
}

ENCODERS: dict[str, Case] = {
    name: (put("r.safetensors", content), LOAD, f"r.safetensors is no safetensors file ({said}")
    for name, (content, said) in {
        "empty": (b"", "Error while deserializing header: header too small"),
        "truncated header": (tensor("F32")[:50], "Error while deserializing header: invalid header length"),
        "truncated data": (tensor("F32")[:-1], "Error while deserializing header: incomplete metadata"),
        "a header of 2**63 bytes": (
            safetensors({}, length=2**63),
            "Error while deserializing header: header too large",
        ),
        "a header of 90 MB": (safetensors({}, length=90_000_000), "Error while deserializing header: invalid header l"),
        "a header that is not JSON": (safetensors(b"no JSON"), "Error while deserializing header: invalid JSON"),
        "a header of a list": (safetensors([1]), "Error while deserializing header: invalid JSON"),
        "a deep header": (safetensors(b"[" * 100000), "Error while deserializing header: invalid JSON"),
        "a shape beyond all memory": (tensor("F32", (2**40, 2**40)), "Error while deserializing header: overflow"),
        "8-bit floats": (tensor("F8_E4M3", data=bytes(144)), ""),
        "a pickle": (pickle.dumps(Touch()), "Error while deserializing header: header too large"),
        "a torch file": (
            inner({"archive/data.pkl": pickle.dumps(Touch())}),
            "Error while deserializing header: header t",
        ),
    }.items()
} | {
    "missing": (nothing, ENCODER, "r.safetensors is no safetensors file ([Errno 2] No such file"),
    "a directory": (folder_at("r.safetensors"), LOAD, "r.safetensors is no safetensors file ([Errno 21] Is a dir"),
    "a pipe": (pipe_at("r.safetensors"), LOAD, "r.safetensors is a pipe"),
    "unreadable": (
        both(put("r.safetensors", tensor("F32")), forbid("r.safetensors")),
        LOAD,
        "r.safetensors is no safetensors file ([Errno 13] Permission denied",
    ),
    **{
        name: (put("r.safetensors", content), LOAD, f"r.safetensors{said}")
        for name, (content, said) in {
            "whole numbers": (tensor("I64", data=bytes(1152)), ": 'stride2.conv1.weight' holds int64, not floating-p"),
            "brain floats": (tensor("BF16", data=bytes(288)), ""),
            "not a number": (tensor("F32", data=b"\xff" * 576), ": 'stride2.conv1.weight' holds what is not a number"),
            "another shape": (tensor("F32", (16, 1, 9)), ": 'stride2.conv1.weight' has the shape (16, 1, 9)"),
            "one tensor only": (tensor("F32"), " has no tensor 'stride2.bn1.weight'"),
        }.items()
    },
}

FLAGS: dict[str, Case] = {  # those that are judged after parsing; the others are in tests/test_flags.py
    "no such model": (nothing, (*TRAIN, "--model=vgg"), "no model 'vgg'; choose from resnet18, resnet34, tiny"),
    "a path as model": (nothing, (*TRAIN, "--model=../tiny"), "no model '../tiny'; choose from"),
    "no such model's weights": (nothing, (*USE_FOLDS, "--model=vgg"), "no fold_*_best.weights.h5 in weights/vgg"),
    "a path as model, to predict": (nothing, (*USE_FOLDS, "--model=../weights/tiny"), "--model=../weights/tiny "),
    "no such loss": (nothing, (*TRAIN, "--loss=mse"), "no loss 'mse'; choose from"),
    "half a sum of losses": (nothing, (*TRAIN, "--loss=bce+"), "no loss ''; choose from"),
    "a size that is no multiple": (nothing, (*TRAIN, "--target_size=100"), "target size 100 is not a multiple of 32"),
    "no such stratification": (nothing, (*PREPROCESS, "--stratify=colour"), "--stratify=colour is not known"),
    "folds in a file": (
        nothing,
        (*PREPROCESS, "--folds_path=submission.csv"),
        "cannot create the folder submission.csv",
    ),
    "folds among the tiles": (
        nothing,
        (*PREPROCESS, "--folds_path=tgs/train/images"),
        "--folds_path=tgs/train/images ",
    ),
    "submissions in a file": (
        nothing,
        (*PREDICT, "--submission_path=submission.csv"),
        "cannot create the folder submissio",
    ),
    "a name too long": (nothing, (tgs_preprocess.main, f"--data_path={'x' * 300}"), "cannot read xxx"),
    "data not to be entered": (forbid("tgs"), PREPROCESS, "cannot read tgs"),
    "folds not to be entered": (forbid("folds"), TRAIN, "cannot read folds"),
    "weights not to be entered": (forbid("weights"), PREDICT, f"cannot read {H5}: Permission denied"),
}

# ---- the corpus ------------------------------------------------------------------------------------------------

KINDS = {
    "image": IMAGES,
    "mask": MASKS,
    "csv": CSVS,
    "zip": ZIPS,
    "fold": FOLDS,
    "weights": WEIGHTS,
    "recipe": RECIPES,
    "state": STATES,
    "encoder": ENCODERS,
    "flag": FLAGS,
}
CORPUS = {f"{kind}: {name}": case for kind, cases in KINDS.items() for name, case in cases.items()}


@pytest.fixture(scope="session")
def good_project(trained, tmp_path_factory) -> Path:
    """What every case damages a copy of."""
    tf.config.list_physical_devices()  # which complains once of a driver that is missing
    return make_project(tmp_path_factory.mktemp("corpus"), trained)


@pytest.fixture
def project(good_project, tmp_path, monkeypatch) -> Path:
    """A project to damage. A network is built once for all cases: half of a prediction's start."""
    monkeypatch.setattr("models.checkpoints.make_model", built_once)
    return Path(shutil.copytree(good_project, tmp_path / "project", symlinks=True))


@pytest.mark.parametrize(("damage", "command", "said"), CORPUS.values(), ids=CORPUS)
def test_wrong_input_is_one_line_and_changes_nothing(project, capfd, damage, command, said):
    damage(project)
    before = tree(project)
    with as_ordinary_user():
        done = run_here(*command, cwd=project)
    assert error_line(done).startswith(said), done.stderr
    assert done.stdout == ""
    assert capfd.readouterr() == ("", "")  # nor has a library in C written
    assert tree(project) == before


def test_the_undamaged_project_passes_every_command_of_the_corpus(project):
    """Else a case could be refused for another reason than its own."""
    for main, *flags in (TRAIN, PREDICT, VALIDATE, BY_DEPTH, PREPROCESS):
        done = run_here(main, *flags, cwd=project)
        assert (done.stderr, done.returncode) == ("", 0), flags


GOOD_INPUT: dict[str, tuple[Damage, tuple]] = {  # odd, yet as it may be
    "a BOM and CRLF in train.csv": (
        change("tgs/train.csv", lambda content: b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")),
        PREPROCESS,
    ),
    "a BOM and quotes in depths.csv": (
        change("tgs/depths.csv", lambda content: b"\xef\xbb\xbf" + content.replace(b"b,", b'"b",')),
        BY_DEPTH,
    ),
    "a BOM in a submission": (change(SUBMISSION, lambda content: b"\xef\xbb\xbf" + content), VALIDATE),
    "no CSV at all": (both(*(remove(f"tgs/{name}.csv") for name in ("train", "depths"))), PREPROCESS),
    "train.csv of some tiles": (put("tgs/train.csv", "id,rle_mask\na,\n"), PREPROCESS),
    "hidden files": (put("tgs/train/images/.DS_Store", b"no tile"), PREPROCESS),
    "three equal channels": (put(IMAGE, png(rgb(GRAY, GRAY, GRAY), RGB_TYPE)), PREPROCESS),
    "a mask of one bit": (both(put(MASK, build([bytes(14)] * 101, depth=1)), remove("tgs/train.csv")), PREPROCESS),
    "a link to a tile": (both(move(IMAGE, "b.png"), link_at(IMAGE, "../../../b.png")), PREPROCESS),
    "a zip with a name of blanks and capitals in it": (
        zipped(
            "my  tiles ☃.zip",
            {f"a folder/{kind}/{k} ü.PNG": png(SALT * 0) for kind in ("images", "masks") for k in range(4)},
        ),
        (tgs_preprocess.main, "--data_path=my  tiles ☃.zip", "--fold=2"),
    ),
}


@pytest.mark.parametrize(("damage", "command"), GOOD_INPUT.values(), ids=GOOD_INPUT)
def test_good_input_that_looks_odd(project, capfd, damage, command):
    """Names that a shell would run are in tests/test_no_code.py."""
    damage(project)
    done = run_here(*command, cwd=project)
    assert (done.stderr, done.returncode) == ("", 0)
    assert capfd.readouterr() == ("", "")


def test_there_are_enough_cases():
    assert len(CORPUS) >= 60, {kind: len(cases) for kind, cases in KINDS.items()}
