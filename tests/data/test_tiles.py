"""Reading tiles: what is accepted, and that every kind of bad file is named in one line."""

import os
import random
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import InputError
from data import tiles
from data.tiles import list_pngs, read_image, read_images, read_mask, read_tiles
from tests.helpers.pngs import GRAY_ALPHA_TYPE, PALETTE_TYPE, RGB_TYPE, RGBA_TYPE, build, chunk, png

GRAY = np.random.default_rng(0).integers(0, 256, (101, 101), np.uint8)
SALT = (GRAY > 100).astype(np.uint8)


def layers(*channels: np.ndarray) -> np.ndarray:
    return np.stack(channels, axis=-1)


def bits_of(pixels: np.ndarray, depth: int) -> list[bytes]:
    """Lines of pixels below 2 ** depth packed as a PNG has them, behind filter 0."""
    digits = np.unpackbits(pixels.astype(np.uint8)[..., None], axis=2)[..., -depth:]
    return [b"\0" + np.packbits(line).tobytes() for line in digits]


GOOD = png(GRAY)
GOOD_MASK = png(SALT * np.uint16(65535))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """images/ and masks/ with the tiles a, b and c."""
    for folder, content in (("images", GOOD), ("masks", GOOD_MASK)):
        (tmp_path / folder).mkdir()
        for name in "bca":
            (tmp_path / folder / f"{name}.png").write_bytes(content)
    return tmp_path / "images", tmp_path / "masks"


# ---- accepted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        png(GRAY),
        png(layers(GRAY, GRAY, GRAY), RGB_TYPE),
        cv2.imencode(".png", GRAY)[1].tobytes(),
        cv2.imencode(".png", layers(GRAY, GRAY, GRAY))[1].tobytes(),
        GOOD + b"bytes behind the end",
        GOOD[:33] + chunk(b"tRNS", b"\0\7") + chunk(b"gAMA", bytes(4)) + GOOD[33:],
        GOOD[:33] + chunk(b"IDAT", GOOD[41:99]) + chunk(b"IDAT", b"") + chunk(b"IDAT", GOOD[99:-16]) + GOOD[-12:],
    ],
    ids=["gray", "three equal channels", "OpenCV's", "OpenCV's RGB", "trailing", "other chunks", "data in parts"],
)
def test_images_in_gray_and_three_equal_channels(tmp_path, capfd, content):
    (tmp_path / "x.png").write_bytes(content)
    image = read_image(tmp_path / "x.png")
    assert capfd.readouterr() == ("", "")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, GRAY)


@pytest.mark.parametrize(
    "content",
    [
        png(SALT * np.uint8(255)),
        png(SALT * np.uint16(65535)),
        png(layers(*[SALT * np.uint8(255)] * 3), RGB_TYPE),
        png(layers(*[SALT * np.uint16(65535)] * 3), RGB_TYPE),
        *(build(bits_of(SALT * (2**depth - 1), depth), depth=depth) for depth in (1, 2, 4)),
    ],
    ids=["8 bits", "16 bits", "8-bit RGB", "16-bit RGB", "1 bit", "2 bits", "4 bits"],
)
def test_masks_of_all_depths(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    mask = read_mask(tmp_path / "x.png")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, SALT)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_masks(tmp_path, dtype, value):
    (tmp_path / "x.png").write_bytes(png(np.full((101, 101), value * np.iinfo(dtype).max, dtype)))
    assert (read_mask(tmp_path / "x.png") == value).all()


def test_tiles_come_sorted_by_id_with_their_own_masks(tmp_path):
    values = {"b": 1, "a-1": 2, "a": 3, "B": 4, "a b,\"c'": 5, "NA": 6, "10": 7, "9": 8}
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, value in values.items():
        tile = np.full((101, 101), value, np.uint8)
        mask = np.zeros((101, 101), np.uint8)
        mask[:value] = 255
        (tmp_path / "images" / f"{name}.png").write_bytes(png(tile))
        (tmp_path / "masks" / f"{name}.png").write_bytes(png(mask))
    (tmp_path / "images" / ".DS_Store").write_bytes(b"hidden, passed over")
    tiles = read_tiles(tmp_path / "images", tmp_path / "masks")
    assert tiles.ids == sorted(values)
    assert (tiles.images.dtype, tiles.images.shape) == (np.uint8, (8, 101, 101))
    assert (tiles.masks.dtype, tiles.masks.shape) == (np.uint8, (8, 101, 101))
    assert tiles.images[:, 50, 50].tolist() == [values[name] for name in tiles.ids]
    assert tiles.masks[:, :, 0].sum(axis=1).tolist() == [values[name] for name in tiles.ids]
    assert list(list_pngs(tmp_path / "images")) == tiles.ids


# ---- refused -----------------------------------------------------------------------------------------------

FLIPPED = bytearray(GOOD)
FLIPPED[len(GOOD) // 2] ^= 4
LINES = [b"\0" + line.tobytes() for line in GRAY]  # filter 0

BAD_FILES = {
    "empty": (b"", "is empty"),
    "zero bytes": (bytes(500), "is not a PNG"),
    "text": (b"id,rle_mask\n", "is not a PNG"),
    "JPEG": (cv2.imencode(".jpg", GRAY)[1].tobytes(), "is not a PNG"),
    "bit flip": (bytes(FLIPPED), "a checksum differs"),
    "no header": (GOOD[:8] + chunk(b"IEND", b""), "no header"),
    "100 x 101": (
        png(GRAY[:, :100]),
        "is 100x101 pixels; tiles are 101x101: cut it to that, or take the original",
    ),
    "101 x 102": (png(np.zeros((102, 101), np.uint8)), "is 101x102 pixels"),
    "red": (png(layers(255 - GRAY, GRAY, GRAY), RGB_TYPE), "is in colour"),
    "green": (png(layers(GRAY, GRAY // 2, GRAY), RGB_TYPE), "is in colour"),
    "blue": (png(layers(GRAY, GRAY, GRAY // 2), RGB_TYPE), "is in colour"),
    "colour, last pixel only": (
        png(layers(GRAY, GRAY, np.where(np.arange(101) < 100, GRAY, 7)), RGB_TYPE),
        "in colour",
    ),
    "alpha": (png(layers(GRAY, GRAY), GRAY_ALPHA_TYPE), "has an alpha channel"),
    "RGB and alpha": (png(layers(GRAY, GRAY, GRAY, GRAY), RGBA_TYPE), "has an alpha channel"),
    "palette": (png(GRAY, PALETTE_TYPE), "has a palette"),
    "interlaced": (build(LINES, interlacing=1), "is interlaced"),
    "no such colour type": (build(LINES, colour_type=1), "its header"),
    "no such depth": (build(LINES, depth=3), "its header"),
    "no such compression": (build(LINES, compression=1), "its header"),
    "lines missing": (png(GRAY[:60], height=101), "too few or too many pixels"),
    "lines left over": (build([*LINES, LINES[0]]), "too few or too many pixels"),
    "a bomb": (build([bytes(10**8)]), "too few or too many pixels"),
    "compressed data cut": (build(LINES, data=zlib.compress(b"".join(LINES))[:-5]), "too few or too many pixels"),
    "no compressed data": (build(LINES, data=b""), "too few or too many pixels"),
    "bad compressed data": (build(LINES, data=b"\x78\x9c\xff\xff\xff"), "its pixels do not inflate"),
    "bad adler": (build(LINES, data=zlib.compress(b"".join(LINES))[:-1] + b"?"), "its pixels do not inflate"),
    "bad filter": (build([*LINES[:-1], b"\5" + LINES[-1][1:]]), "an unknown filter"),
    "large": (GOOD[:33] + chunk(b"tEXt", bytes(1 << 20)) + GOOD[33:], f"has {(1 << 20) + 12 + len(GOOD)} bytes"),
}
BAD_IMAGES = BAD_FILES | {
    "16 bits": (png(GRAY.astype(np.uint16)), "has 16 bits"),
    "1 bit": (build(bits_of(SALT, 1), depth=1), "has 1 bits"),
}
BAD_MASKS = BAD_FILES | {
    "between, 8 bits": (png(SALT * np.uint8(254)), "has the value 254; a mask holds 0 and 255 only"),
    "0 and 1": (png(SALT), "has the value 1; a mask holds 0 and 255 only"),
    "between, 16 bits": (png(SALT * np.uint16(255)), "has the value 255; a mask holds 0 and 65535 only"),
    "one pixel between": (png(np.where(np.arange(101) < 100, 0, 128).astype(np.uint8)[None].repeat(101, 0)), "128"),
}


@pytest.mark.parametrize(("content", "said"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_a_bad_image_is_named_without_noise(folders, capfd, content, said):
    check_named(folders, folders[0] / "b.png", content, said)
    assert capfd.readouterr() == ("", "")  # libpng would print there


@pytest.mark.parametrize(("content", "said"), BAD_MASKS.values(), ids=BAD_MASKS)
def test_a_bad_mask_is_named_without_noise(folders, capfd, content, said):
    check_named(folders, folders[1] / "b.png", content, said)
    assert capfd.readouterr() == ("", "")


def check_named(folders: tuple[Path, Path], path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    assert_refused(folders, f"{path} ", said)


def assert_refused(folders: tuple[Path, Path], start: str, said: str = "") -> None:
    with pytest.raises(InputError) as caught:
        read_tiles(*folders)
    message = str(caught.value)
    assert message.startswith(start), message
    assert said in message
    assert "\n" not in message


def test_truncation_is_seen_at_every_length_without_noise(tmp_path, capfd):
    path = tmp_path / "x.png"
    for length in sorted({*range(1, 60), *random.Random(0).sample(range(60, len(GOOD)), 60), len(GOOD) - 1}):
        path.write_bytes(GOOD[:length])
        with pytest.raises(InputError, match=r"is truncated|is not a PNG") as caught:
            read_image(path)
        assert str(caught.value).startswith(f"{path} is ")
    assert capfd.readouterr().err == ""  # libpng would print there


def test_any_flipped_bit_is_seen(tmp_path, capfd):
    path = tmp_path / "x.png"
    rng = random.Random(1)
    for at in [*range(60), *rng.sample(range(60, len(GOOD)), 60), *range(len(GOOD) - 12, len(GOOD))]:
        damaged = bytearray(GOOD)
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"is damaged|is truncated|is not a PNG"):
            read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("side", [30_000, 2**31 - 1, 2**32 - 1])
def test_a_huge_declared_size_is_refused_before_memory_is_taken(tmp_path, monkeypatch, side):
    path = tmp_path / "x.png"
    path.write_bytes(png(GRAY, width=side, height=side))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded: 0.9 GB or more"))
    with pytest.raises(InputError, match=f"is {side}x{side} pixels"):
        read_image(path)


def test_missing_and_extra_masks_are_named_the_first_one_by_id(folders):
    images, masks = folders
    for k in range(20):
        (images / f"d{k}.png").write_bytes(GOOD)
    assert_refused(folders, f"no mask for {images}/d0.png; expected {masks}/d0.png")
    for path in list(images.glob("d*.png")):
        path.rename(masks / path.name)
    assert_refused(folders, f"no image for {masks}/d0.png; expected {images}/d0.png")
    (masks / "a.png").unlink()  # with both kinds, the missing mask
    assert_refused(folders, f"no mask for {images}/a.png")


def test_foreign_files_folders_and_links(folders):
    images, masks = folders
    (masks / "b.png").unlink()
    (masks / "b.png").mkdir()
    assert_refused(folders, f"cannot read {masks}/b.png: Is a directory")
    (masks / "b.png").rmdir()
    (masks / "b.png").symlink_to(images / "nothing.png")
    assert_refused(folders, f"{masks}/b.png is a link to {images}/nothing.png, and there is no {images}/nothing.png")
    (masks / "b.png").unlink()
    os.mkfifo(masks / "b.png")  # opening it would wait for a writer
    assert_refused(folders, f"{masks}/b.png is a pipe or a device")
    for name in ("Thumbs.db", "z.PNG", "b.png.bak", "notes"):
        (images / name).touch()
        assert_refused(folders, f"{images}/{name} is not a .png")
        (images / name).unlink()


@pytest.mark.parametrize("name", [b"a\nb.png", b"\xff.png", b"a\\b.png"])
def test_a_name_that_no_csv_can_hold(folders, name):
    Path(os.fsdecode(os.fsencode(folders[0]) + b"/" + name)).write_bytes(GOOD)
    assert_refused(folders, f"{folders[0]}/ has a file named", "rename it")


def test_empty_and_missing_folders(folders):
    images, masks = folders
    for path in masks.iterdir():
        path.unlink()
    assert_refused(folders, f"no .png in {masks}")
    (masks / ".gitkeep").touch()
    assert_refused(folders, f"no .png in {masks}")
    assert_refused((images, masks / "none"), f"cannot read the folder {masks}/none: No such file")
    assert_refused((images / "a.png", masks), f"cannot read the folder {images}/a.png: Not a directory")


def test_the_first_bad_file_in_order_is_named(folders):
    images, _ = folders
    for k in range(40):
        (images / f"d{k:02}.png").write_bytes(GOOD if k < 20 else b"bad")
    with pytest.raises(InputError, match=r"d20\.png is not a PNG"):
        read_images(list_pngs(images).values())


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_of_several_bad_files_that_threads_meet_the_first_in_order_is_named(tmp_path, monkeypatch, kind):
    """Two threads, two files at a time: the second meets its bad file while the first is still before its own."""
    folders = tmp_path / "images", tmp_path / "masks"
    for folder, content in zip(folders, (GOOD, GOOD_MASK), strict=True):
        folder.mkdir()
        for k in range(9):
            bad = folder.name == kind and k in (1, 2, 7)
            (folder / f"t{k}.png").write_bytes(b"bad" if bad else content)
    reading, read = f"read_{kind.removesuffix('s')}", {"images": read_image, "masks": read_mask}[kind]

    def read_slowly(path: Path) -> np.ndarray:
        time.sleep(0.05 * (path.stem in ("t0", "t1")))
        return read(path)

    monkeypatch.setattr(tiles, "CHUNK", 2)
    monkeypatch.setattr(tiles, reading, read_slowly)
    assert_refused(folders, f"{tmp_path / kind}/t1.png is not a PNG")
