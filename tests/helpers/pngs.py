"""PNGs by the format's definition, right and wrong."""

import struct
import zlib
from collections.abc import Iterable

import numpy as np

from data.png import PNG_SIGNATURE

GRAY_TYPE, RGB_TYPE, PALETTE_TYPE, GRAY_ALPHA_TYPE, RGBA_TYPE = 0, 2, 3, 4, 6


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def build(
    lines: Iterable[bytes],
    *,
    width: int = 101,
    height: int = 101,
    depth: int = 8,
    colour_type: int = GRAY_TYPE,
    compression: int = 0,
    interlacing: int = 0,
    data: bytes | None = None,
) -> bytes:
    """A PNG of these lines, each with its filter's number in front; all else can lie, `data` is what is compressed."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, compression, 0, interlacing)
    data = zlib.compress(b"".join(lines)) if data is None else data
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png(pixels: np.ndarray, colour_type: int = GRAY_TYPE, *, width: int | None = None, height: int | None = None):
    """A PNG of pixels uint8 or uint16 (H, W[, channels]); `width` and `height` can lie."""
    lines = (b"\0" + line.tobytes() for line in pixels.astype(f">u{pixels.dtype.itemsize}"))  # filter 0
    size = {"width": width or pixels.shape[1], "height": height or pixels.shape[0]}
    return build(lines, **size, depth=8 * pixels.dtype.itemsize, colour_type=colour_type)
