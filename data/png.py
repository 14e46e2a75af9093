"""PNG files: bytes in, pixels out, or a line that says what is wrong with them; and pixels in, bytes out."""

import struct
import zlib

import cv2
import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3}  # by the PNG format's colour type: gray, RGB
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16)}  # bits a sample that the format knows
REFUSED_TYPES = {3: "a palette", 4: "an alpha channel", 6: "an alpha channel"}
MAX_PIXELS = 200_000_000  # of a section
MAX_SIDE = 1_000_000  # pixels; libpng's own limit


def encode_png(pixels: np.ndarray, level: int = 3) -> bytes:
    """Encode pixels uint8 or uint16 (H, W) or, blue first, (H, W, 3) as a PNG, compressed at zlib's `level`."""
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()


def decode_png(content: bytes, side: int | None = None) -> tuple[np.ndarray, int]:
    """Check and decode the PNG of a tile of `side` x `side` pixels, or of a section of any size, by its bytes.

    OpenCV is given a PNG made anew of the header and the inflated lines, both checked here: of anything odd libpng
    would write to stderr, and a header can declare gigapixels.

    Returns:
        gray values uint8 or, of 16 bits, uint16 (H, W), also those of three equal channels; and the file's bits a pixel
        and channel.
    Raises:
        ValueError: what is wrong, as the rest of a sentence that begins with the file's name.
    """
    header, data = _header_and_data(content)
    height, depth, line = _check_header(header, side)
    inflater = zlib.decompressobj()
    try:
        lines = inflater.decompress(data, line * height + 1)
    except zlib.error:
        raise ValueError("is damaged (its pixels do not inflate); get the file again") from None
    if len(lines) != line * height or not inflater.eof:
        raise ValueError("is damaged (too few or too many pixels); get the file again")
    if max(lines[::line]) > 4:
        raise ValueError("is damaged (an unknown filter); get the file again")
    data = zlib.compress(lines, 0)  # not compressed: the second inflating costs nothing
    del lines  # of a section, hundreds of megabytes
    anew = b"".join((PNG_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", data), *_chunk(b"IEND", b"")))
    del data
    pixels = cv2.imdecode(np.frombuffer(anew, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3:
        gray, *others = cv2.split(pixels)
        if not all(np.array_equal(gray, other) for other in others):
            raise ValueError(f"is in colour; {_are_gray(side)}")
        pixels = gray
    return pixels, depth


def _check_header(header: bytes, side: int | None) -> tuple[int, int, int]:
    """Check what a header declares; returns the height, the bits a sample, and the bytes of a line with its filter."""
    width, height, depth, colour, compression, filtering, interlacing = struct.unpack(">IIBBBBB", header)
    if side is None:
        check_size(width, height)
    elif (width, height) != (side, side):
        raise ValueError(f"is {width}x{height} pixels; tiles are {side}x{side}: cut it to that, or take the original")
    if colour in REFUSED_TYPES:
        raise ValueError(f"has {REFUSED_TYPES[colour]}; {_are_gray(side)}")
    if depth not in DEPTHS.get(colour, ()) or compression or filtering or interlacing > 1:
        raise ValueError("is damaged (its header is not of the format); get the file again")
    if interlacing:
        raise ValueError("is interlaced; save it without")
    return height, depth, 1 + (width * CHANNELS[colour] * depth + 7) // 8


def _are_gray(side: int | None) -> str:
    return f"{'tiles' if side else 'sections'} are gray, convert it"


def check_size(width: int, height: int) -> None:
    """Refuse, by ValueError as `decode_png`, a section that has no pixels, or more than memory is meant for."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise ValueError(
            f"is {width}x{height} pixels; sections have 1 to {MAX_PIXELS:,} and at most {MAX_SIDE:,} a side, cut it"
        )


def _header_and_data(content: bytes) -> tuple[bytes, bytes]:
    """Read a PNG's header and its compressed pixels, after verifying every checksum; other chunks are left out."""
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


def _chunk(kind: bytes, content: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Make a chunk, in parts: a section's pixels are not copied once more."""
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)
