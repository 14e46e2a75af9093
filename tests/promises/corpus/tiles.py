"""Images and masks that are none, or not as tiles are."""

import io

import numpy as np
from PIL import Image

from tests.helpers.pngs import GRAY_ALPHA_TYPE, PALETTE_TYPE, RGB_TYPE, RGBA_TYPE, build, chunk, png
from tests.promises.corpus.commands import PREDICT, PREPROCESS, Case
from tests.promises.corpus.damage import both, folder_at, forbid, link_at, move, pipe_at, put, remove

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
    "a broken link": (link_at(IMAGE, "gone.png"), PREPROCESS, f"{IMAGE} is a link to gone.png, and there is no /"),
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
    "a link to a disk that is away": (
        both(remove("tgs"), link_at("tgs", "/mnt/none/tgs")),
        PREPROCESS,
        "tgs is a link to /mnt/none/tgs, and there is no /mnt/none; bring that there",
    ),
    "to predict, a link to a disk that is away": (
        both(remove("tgs/test/images"), link_at("tgs/test/images", "../../none/x")),
        PREDICT,
        "tgs/test/images is a link to ../../none/x, and there is no /",
    ),
    "to predict, truncated": (put(TEST_IMAGE, GOOD[:99]), PREDICT, f"{TEST_IMAGE} is truncated"),
    "to predict, 16 bits": (put(TEST_IMAGE, png(GRAY.astype(np.uint16))), PREDICT, f"{TEST_IMAGE} has 16 bits"),
    "to predict, broken link": (
        link_at(TEST_IMAGE, "gone"),
        PREDICT,
        f"{TEST_IMAGE} is a link to gone, and",
    ),
    "to predict, last batch": (put(TEST_IMAGE, b""), (*PREDICT, "--batch_size=1"), f"{TEST_IMAGE} is empty"),
    "to predict, a line break": (move(TEST_IMAGE, "tgs/test/images/\n.png"), PREDICT, "tgs/test/images/ has a file na"),
    "to predict, packed": (
        both(remove("tgs/test"), put("tgs/test.zip", b"")),
        PREDICT,
        "tgs/test.zip cannot be unpacked",
    ),
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
