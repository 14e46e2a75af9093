"""Reading and checking tiles: PNG files in, uint8 arrays out, or one line that names the bad file."""

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data.errors import InputError
from data.rle import TILE

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class TileSet:
    """Labelled tiles: `ids` sorted; `images` uint8 (N, 101, 101); `masks` uint8 {0, 1} (N, 101, 101), 1 = salt."""

    ids: list[str]
    images: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def coverage(self) -> np.ndarray:
        """Share of salt pixels per tile, float64 (N,) in 0..1."""
        return self.masks.mean(axis=(1, 2))


def list_pngs(folder: str | Path) -> dict[str, Path]:
    """Map id -> path of every PNG in `folder`, sorted by id; hidden files are passed over.

    InputError: no such folder, no PNG in it, a file that is not a PNG, or a name that cannot be an id.
    """
    folder = Path(folder)
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from None
    for name in names:
        if not name.endswith(".png"):
            raise InputError(f"{folder / name} is not a .png; rename it, or move it out of the folder of tiles")
        if not name.isprintable():  # line breaks, or bytes that are not UTF-8: no id for a CSV
            raise InputError(f"{folder}/ has a file named {name!a}, which cannot be an id; rename it")
    files = {name.removesuffix(".png"): folder / name for name in names}
    if not files:
        raise InputError(f"no .png in {folder}; put the tiles there or name another folder")
    return dict(sorted(files.items()))


def read_image(path: str | Path, size: int = TILE) -> np.ndarray:
    """Read a gray tile, uint8 (size, size): gray, or three equal channels, with or without alpha."""
    pixels = _read_png(Path(path), size)
    if pixels.dtype != np.uint8:
        raise InputError(f"{path} has 16 bits a pixel; images are 8-bit, convert it")
    return _one_channel(pixels, path)


def read_mask(path: str | Path, size: int = TILE) -> np.ndarray:
    """Read a mask, uint8 {0, 1} (size, size), from 8 bits (0/255) or 16 bits (0/65535)."""
    pixels = _one_channel(_read_png(Path(path), size), path)
    salt = pixels == np.iinfo(pixels.dtype).max
    if np.any(salt != (pixels > 0)):
        between = int(pixels[salt != (pixels > 0)][0])
        raise InputError(f"{path} has the value {between}; a mask holds 0 and {np.iinfo(pixels.dtype).max} only")
    return salt.astype(np.uint8)


def read_images(paths: Iterable[Path]) -> np.ndarray:
    """Read gray tiles in parallel: uint8 (N, 101, 101)."""
    return _stack(in_parallel(read_image, paths))


def read_tiles(images: str | Path, masks: str | Path) -> TileSet:
    """Read and check every tile of folder `images` with its mask of the same name in folder `masks`.

    Raises:
        InputError: naming the first file that is missing, left over or wrong.
    """
    image_paths, mask_paths = list_pngs(images), list_pngs(masks)
    for missing in sorted(image_paths.keys() - mask_paths.keys()):
        raise InputError(f"no mask for {image_paths[missing]}; expected {Path(masks) / missing}.png")
    for extra in sorted(mask_paths.keys() - image_paths.keys()):
        raise InputError(f"no image for {mask_paths[extra]}; expected {Path(images) / extra}.png")
    return TileSet(
        list(image_paths),
        read_images(image_paths.values()),
        _stack(in_parallel(read_mask, mask_paths.values())),
    )


def in_parallel(read: Callable[[Path], np.ndarray], paths: Iterable[Path]) -> Iterator[np.ndarray]:
    """Apply `read` to each path in threads (decoding runs outside Python's lock), in order."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(read, paths)


def _stack(tiles: Iterable[np.ndarray]) -> np.ndarray:
    return np.stack(list(tiles))


def _read_png(path: Path, size: int) -> np.ndarray:
    """Decode a PNG of size x size pixels to (size, size[, channels]) uint8 or uint16."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if defect := _png_defect(content):
        raise InputError(f"{path} {defect}")
    width, height = struct.unpack(">II", content[16:24])
    if (width, height) != (size, size):  # before decoding: a header can declare gigapixels
        raise InputError(f"{path} is {width}x{height} pixels; tiles are {size}x{size}")
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{path} cannot be decoded; get the file again")
    return pixels


def _png_defect(content: bytes) -> str | None:
    """Say what is wrong with a PNG's chunks and checksums, None when they are whole (libpng would write to stderr)."""
    if not content.startswith(PNG_SIGNATURE):
        return "is not a PNG; convert it" if content else "is empty; get the file again"
    at, kind = len(PNG_SIGNATURE), None
    while kind != b"IEND":
        header = content[at : at + 8]
        if len(header) < 8:
            return "is truncated; get the file again"
        length, kind = struct.unpack(">I4s", header)
        end = at + 8 + length
        checksum = content[end : end + 4]
        if len(checksum) < 4:
            return "is truncated; get the file again"
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(checksum):
            return "is damaged (a checksum differs); get the file again"
        if at == len(PNG_SIGNATURE) and (kind, length) != (b"IHDR", 13):
            return "is damaged (no header); get the file again"
        at = end + 4
    return None


def _one_channel(pixels: np.ndarray, path: str | Path) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels
    gray = pixels[..., 0]
    for channel in range(1, min(pixels.shape[2], 3)):  # a fourth channel is alpha
        if not np.array_equal(gray, pixels[..., channel]):
            raise InputError(f"{path} is in colour; tiles are gray, convert it")
    return gray
