"""Reading and checking tiles: PNG files in, uint8 arrays out, or one line that names the bad file."""

import os
import stat
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data.errors import InputError
from data.progress import bar, counted
from data.rle import TILE

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3}  # by the PNG format's colour type: gray, RGB
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16)}  # bits a sample that the format knows
REFUSED_TYPES = {3: "a palette", 4: "an alpha channel", 6: "an alpha channel"}
MAX_BYTES = 1 << 20  # of a file; a tile has 10 kB


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


def is_id(text: str) -> bool:
    """Whether a tile can have this id: printable, so that a CSV holds it, and no path to another folder."""
    return text.isprintable() and not {"/", "\\"} & set(text)


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
        if not is_id(name):  # line breaks, bytes that are not UTF-8, backslashes
            raise InputError(f"{folder}/ has a file named {name!a}, which cannot be an id; rename it")
    files = {name.removesuffix(".png"): folder / name for name in names}
    if not files:
        raise InputError(f"no .png in {folder}; put the tiles there or name another folder")
    return dict(sorted(files.items()))


def check_is_file(path: str | Path) -> int:
    """Refuse a pipe or a device, which could be read forever; returns the length in bytes. OSError: there is none."""
    status = os.stat(path)
    if stat.S_IFMT(status.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"{path} is a pipe or a device; put the file itself there")
    return status.st_size


def read_image(path: str | Path, size: int = TILE) -> np.ndarray:
    """Read a gray tile, uint8 (size, size), from a PNG in gray or three equal channels of 8 bits."""
    pixels, depth = _read_png(Path(path), size)
    if depth != 8:
        raise InputError(f"{path} has {depth} bits a pixel; images are 8-bit, convert it")
    return pixels


def read_mask(path: str | Path, size: int = TILE) -> np.ndarray:
    """Read a mask, uint8 {0, 1} (size, size), from a PNG that holds 0 and the largest value (65535 of 16 bits)."""
    pixels, _ = _read_png(Path(path), size)
    salt = pixels == np.iinfo(pixels.dtype).max
    if np.any(salt != (pixels > 0)):
        between = int(pixels[salt != (pixels > 0)][0])
        raise InputError(f"{path} has the value {between}; a mask holds 0 and {np.iinfo(pixels.dtype).max} only")
    return salt.astype(np.uint8)


def read_images(paths: Iterable[Path]) -> np.ndarray:
    """Read gray tiles: uint8 (N, 101, 101). In one thread: at files so small several only wait for each other."""
    return np.stack([read_image(path) for path in paths])


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
    with bar("read tiles", 2 * len(image_paths), "file") as shown:
        read = read_images(counted(image_paths.values(), shown))
        return TileSet(list(image_paths), read, np.stack([read_mask(p) for p in counted(mask_paths.values(), shown)]))


def _read_png(path: Path, size: int) -> tuple[np.ndarray, int]:
    """Decode a PNG of size x size pixels to uint8 or uint16 (size, size); returns its bits a pixel and channel too."""
    try:
        if (length := check_is_file(path)) > MAX_BYTES:
            raise InputError(f"{path} has {length} bytes; a tile has at most {MAX_BYTES}")
        return _decode(path.read_bytes(), size)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} {error}") from None


def _decode(content: bytes, size: int) -> tuple[np.ndarray, int]:
    """Check and decode a PNG's bytes; ValueError says what is wrong with them.

    OpenCV is given a PNG made anew of the header and the inflated lines, both checked here: of anything odd libpng
    would write to stderr, and a header can declare gigapixels.
    """
    header, data = _header_and_data(content)
    *declared, depth, colour, compression, filtering, interlacing = struct.unpack(">IIBBBBB", header)
    if declared != [size, size]:
        raise ValueError(f"is {declared[0]}x{declared[1]} pixels; tiles are {size}x{size}")
    if colour in REFUSED_TYPES:
        raise ValueError(f"has {REFUSED_TYPES[colour]}; tiles are gray, convert it")
    if depth not in DEPTHS.get(colour, ()) or compression or filtering or interlacing > 1:
        raise ValueError("is damaged (its header is not of the format); get the file again")
    if interlacing:
        raise ValueError("is interlaced; save it without")
    line = 1 + (size * CHANNELS[colour] * depth + 7) // 8  # bytes: the filter's number, then the pixels
    inflater = zlib.decompressobj()
    try:
        lines = inflater.decompress(data, line * size + 1)
    except zlib.error:
        raise ValueError("is damaged (its pixels do not inflate); get the file again") from None
    if len(lines) != line * size or not inflater.eof:
        raise ValueError("is damaged (too few or too many pixels); get the file again")
    if max(lines[::line]) > 4:
        raise ValueError("is damaged (an unknown filter); get the file again")
    stored = zlib.compress(lines, 0)  # not compressed: the second inflating costs nothing
    anew = PNG_SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", stored) + _chunk(b"IEND", b"")
    pixels = cv2.imdecode(np.frombuffer(anew, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3:
        gray, *others = cv2.split(pixels)
        if not all(np.array_equal(gray, other) for other in others):
            raise ValueError("is in colour; tiles are gray, convert it")
        pixels = gray
    return pixels, depth


def _header_and_data(content: bytes) -> tuple[bytes, bytes]:
    """A PNG's header and its compressed pixels, after verifying every checksum; other chunks are left out."""
    if not content.startswith(PNG_SIGNATURE):
        raise ValueError("is not a PNG; convert it" if content else "is empty; get the file again")
    at, kind, header, data = len(PNG_SIGNATURE), b"", b"", []
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", content[at : at + 8].ljust(8, b"\xff"))  # behind the end: too long
        inside, end = at + 8, at + 8 + length
        if len(content) < end + 4:
            raise ValueError("is truncated; get the file again")
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4]):
            raise ValueError("is damaged (a checksum differs); get the file again")
        if not header and (kind, length) != (b"IHDR", 13):
            raise ValueError("is damaged (no header); get the file again")
        header = header or content[inside:end]
        if kind == b"IDAT":
            data.append(content[inside:end])
        at = end + 4
    return header, b"".join(data)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
