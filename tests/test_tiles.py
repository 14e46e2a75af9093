"""Reading tiles: what is accepted, and that every kind of bad file is named in one line."""

import os
import random
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import InputError
from data.tiles import TileSet, list_pngs, read_image, read_images, read_mask, read_tiles

GRAY = np.random.default_rng(0).integers(0, 256, (101, 101), np.uint8)
SALT = (GRAY > 100).astype(np.uint8)
GRAY_TYPE, RGB_TYPE, GRAY_ALPHA_TYPE, RGBA_TYPE = 0, 2, 4, 6  # colour types of the PNG format


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels: np.ndarray, colour_type: int = GRAY_TYPE, *, width: int | None = None, height: int | None = None):
    """A PNG written by the format's definition; `width` and `height` can lie."""
    depth = 8 * pixels.dtype.itemsize
    size = (width or pixels.shape[1], height or pixels.shape[0])
    rows = pixels.astype(f">u{pixels.dtype.itemsize}")
    lines = b"".join(b"\0" + row.tobytes() for row in rows)  # filter 0
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def layers(*channels: np.ndarray) -> np.ndarray:
    return np.stack(channels, axis=-1)


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
        png(layers(GRAY, 255 - GRAY), GRAY_ALPHA_TYPE),
        png(layers(GRAY, 0 * GRAY), GRAY_ALPHA_TYPE),  # wholly transparent, yet with its grays
        png(layers(GRAY, GRAY, GRAY, 255 - GRAY), RGBA_TYPE),
        cv2.imencode(".png", GRAY)[1].tobytes(),
        GOOD + b"bytes behind the end",
    ],
    ids=["gray", "three equal channels", "gray+alpha", "transparent", "alpha", "OpenCV's", "trailing"],
)
def test_images_in_gray_three_equal_channels_and_alpha(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    image = read_image(tmp_path / "x.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, GRAY)


@pytest.mark.parametrize(
    "content",
    [
        png(SALT * np.uint8(255)),
        png(SALT * np.uint16(65535)),
        png(layers(*[SALT * np.uint8(255)] * 3), RGB_TYPE),
        png(layers(*[SALT * np.uint16(65535)] * 3), RGB_TYPE),
        png(layers(SALT * np.uint8(255), GRAY), GRAY_ALPHA_TYPE),
        png(layers(*[SALT * np.uint16(65535)] * 3, GRAY.astype(np.uint16)), RGBA_TYPE),
    ],
    ids=["8 bits", "16 bits", "8-bit RGB", "16-bit RGB", "8-bit gray+alpha", "16-bit RGBA"],
)
def test_masks_of_8_and_16_bits(tmp_path, content):
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


def test_coverage_is_the_share_of_salt():
    masks = np.zeros((2, 101, 101), np.uint8)
    masks[1, :, :25] = 1
    assert TileSet(["a", "b"], masks, masks).coverage.tolist() == pytest.approx([0, 25 / 101])


# ---- refused -----------------------------------------------------------------------------------------------

FLIPPED = bytearray(GOOD)
FLIPPED[len(GOOD) // 2] ^= 4

BAD_FILES = {
    "empty": (b"", "is empty"),
    "zero bytes": (bytes(500), "is not a PNG"),
    "text": (b"id,rle_mask\n", "is not a PNG"),
    "JPEG": (cv2.imencode(".jpg", GRAY)[1].tobytes(), "is not a PNG"),
    "bit flip": (bytes(FLIPPED), "a checksum differs"),
    "no header": (GOOD[:8] + chunk(b"IEND", b""), "no header"),
    "100 x 101": (png(GRAY[:, :100]), "is 100x101 pixels; tiles are 101x101"),
    "101 x 102": (png(np.zeros((102, 101), np.uint8)), "is 101x102 pixels"),
    "red": (png(layers(255 - GRAY, GRAY, GRAY), RGB_TYPE), "is in colour"),
    "green": (png(layers(GRAY, GRAY // 2, GRAY), RGB_TYPE), "is in colour"),
    "blue": (png(layers(GRAY, GRAY, GRAY // 2), RGB_TYPE), "is in colour"),
    "colour, last pixel only": (
        png(layers(GRAY, GRAY, np.where(np.arange(101) < 100, GRAY, 7)), RGB_TYPE),
        "in colour",
    ),
    "colour with alpha": (png(layers(GRAY // 2, GRAY, GRAY, GRAY), RGBA_TYPE), "is in colour"),
    "pixels missing": (png(GRAY[:60], height=101), "cannot be decoded"),
}
BAD_IMAGES = BAD_FILES | {"16 bits": (png(GRAY.astype(np.uint16)), "has 16 bits")}
BAD_MASKS = BAD_FILES | {
    "between, 8 bits": (png(SALT * np.uint8(254)), "has the value 254; a mask holds 0 and 255 only"),
    "0 and 1": (png(SALT), "has the value 1; a mask holds 0 and 255 only"),
    "between, 16 bits": (png(SALT * np.uint16(255)), "has the value 255; a mask holds 0 and 65535 only"),
    "one pixel between": (png(np.where(np.arange(101) < 100, 0, 128).astype(np.uint8)[None].repeat(101, 0)), "128"),
}


@pytest.mark.parametrize(("content", "said"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_a_bad_image_is_named(folders, content, said):
    check_named(folders, folders[0] / "b.png", content, said)


@pytest.mark.parametrize(("content", "said"), BAD_MASKS.values(), ids=BAD_MASKS)
def test_a_bad_mask_is_named(folders, content, said):
    check_named(folders, folders[1] / "b.png", content, said)


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
    assert_refused(folders, f"cannot read {masks}/b.png: No such file")
    for name in ("Thumbs.db", "z.PNG", "b.png.bak", "notes"):
        (images / name).touch()
        assert_refused(folders, f"{images}/{name} is not a .png")
        (images / name).unlink()


@pytest.mark.parametrize("name", [b"a\nb.png", b"\xff.png"])
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


def test_the_first_bad_file_in_order_is_named_however_threads_race(folders):
    images, _ = folders
    for k in range(40):
        (images / f"d{k:02}.png").write_bytes(GOOD if k < 20 else b"bad")
    for _ in range(5):
        with pytest.raises(InputError, match=r"d20\.png is not a PNG"):
            read_images(list_pngs(images).values())


# ---- the real tiles ----------------------------------------------------------------------------------------


def test_the_real_tiles_are_read_in_seconds(real_data):
    began = time.perf_counter()
    tiles = read_tiles(real_data / "train" / "images", real_data / "train" / "masks")
    seconds = time.perf_counter() - began
    print(f"{len(tiles)} real tiles with masks read and checked in {seconds:.2f} s")
    assert len(tiles) == 3601
    assert tiles.ids == sorted(tiles.ids)
    assert set(np.unique(tiles.masks)) == {0, 1}
    assert 0.38 < (tiles.coverage == 0).mean() < 0.40
    assert 0.24 < tiles.coverage.mean() < 0.26
    assert seconds < 6  # 3 wanted on two cores; machines are noisy
