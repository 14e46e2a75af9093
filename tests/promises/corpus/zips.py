"""Zips of tiles that lead elsewhere, burst, lie or are damaged."""

import io
import zipfile

import numpy as np

from tests.helpers.pngs import png
from tests.promises.corpus.commands import PREPROCESS, UNPACK, Case
from tests.promises.corpus.damage import (
    both,
    change,
    declaring,
    encrypted,
    folder_at,
    forbid,
    link_at,
    nothing,
    put,
    remove,
    zipped,
)
from tests.promises.corpus.tiles import GOOD, SALT

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
            "/images/x.png",
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
        "tgs/train.zip is a link to gone, and there is no /",
    ),
    "nowhere to write": (both(WHOLE, put("data", "a file")), UNPACK, "cannot create the folder data/tgs"),
    "other tiles there": (
        both(WHOLE, lambda project: (project / "data/tgs/train").mkdir(parents=True)),
        UNPACK,
        "data/tgs/train exists and differs from the zip's",
    ),
}
