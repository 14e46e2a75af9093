"""SEG-Y files to read: as they should be, and odd ones."""

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import segyio

INLINES, CROSSLINES = (10, 12, 14, 16, 18, 20), (300, 301, 302, 303, 304)  # 30 traces


def amplitudes(traces: int, samples: int = 40) -> np.ndarray:
    """Smooth amplitudes, all of them whole numbers of 7 bits: (traces, samples)."""
    phase = np.random.default_rng(0).uniform(0, 1, (traces, 1))
    return (60 + 60 * np.sin(np.arange(samples) / 5 + phase)).round()


def grid(inlines: Sequence[int] = INLINES, crosslines: Sequence[int] = CROSSLINES) -> list[dict[int, int]]:
    """Trace headers of a volume, byte -> number."""
    return [{189: inline, 193: crossline} for inline, crossline in product(inlines, crosslines)]


def write_segy(path: Path, headers: list[dict[int, int]], traces: np.ndarray, *, format: int = 5, endian: str = "big"):
    """Write traces (N, samples) with these headers; returns the path."""
    spec = segyio.spec()
    spec.format, spec.tracecount, spec.samples, spec.endian = (
        format,
        len(headers),
        np.arange(traces.shape[1]) * 4,
        endian,
    )
    with segyio.create(path, spec) as file:
        for k, header in enumerate(headers):
            file.header[k] = header
        file.trace.raw[:] = np.ascontiguousarray(traces, file.dtype)
    return path


def volume(path: Path, scale: float = 1, **kwargs) -> Path:
    """A volume of 6 inlines, 5 crosslines and 40 samples."""
    headers = grid()
    return write_segy(path, headers, amplitudes(len(headers)) * scale, **kwargs)


def patch(path: Path, at: int, content: bytes) -> Path:
    """Overwrite bytes of a file."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(content)
    return path


def gathers(path: Path) -> Path:
    """Two offsets at each place of a volume."""
    headers = [h | {37: offset} for h in grid((1, 2, 3)) for offset in (100, 200)]
    return write_segy(path, headers, amplitudes(30))


BAD_SURVEYS = {  # what makes it, what is said of it
    "an empty file": (
        lambda p: p.write_bytes(b""),
        "is no SEG-Y, or has samples of a format that is not read: its bytes 3225 and 3226 say 0",
    ),
    "a short text": (
        lambda p: p.write_text("id,rle_mask\n"),
        "is no SEG-Y, or has samples of a format that is not read: its bytes 3225 and 3226 say 0",
    ),
    "a long text": (lambda p: p.write_text("trace 1 2 3\n" * 2000), "is no SEG-Y, or"),
    "zeros": (
        lambda p: p.write_bytes(bytes(9000)),
        "is no SEG-Y, or has samples of a format that is not read: its bytes 3225 and 3226 say 0",
    ),
    "headers alone": (lambda p: os.truncate(volume(p), 3600), "has no traces: 3600 bytes"),
    "truncated": (lambda p: os.truncate(volume(p), 9999), "is truncated, or its headers say another length"),
    "cut in its first trace": (lambda p: os.truncate(volume(p), 3700), "has no traces"),
    "other samples than told": (
        lambda p: patch(volume(p), 3220, b"\0\x29"),
        "is truncated, or its headers say another",
    ),
    "no samples told": (lambda p: patch(volume(p), 3220, b"\0\0"), "has no samples"),
    "two text headers too many": (
        lambda p: patch(volume(p, format=6), 3504, b"\0\2"),
        "its headers say another length",
    ),
    "fixed point with gain": (
        lambda p: patch(volume(p), 3224, b"\0\4"),
        "that is not read: its bytes 3225 and 3226 say 4",
    ),
    "24 bits": (lambda p: patch(volume(p), 3224, b"\0\7"), "that is not read: its bytes 3225 and 3226 say 7"),
    "an unknown format": (
        lambda p: patch(volume(p), 3224, b"\0\x63"),
        "that is not read: its bytes 3225 and 3226 say 99",
    ),
    "gathers": (gathers, "is pre-stack: gathers"),
    "gathers of a line": (
        lambda p: write_segy(p, [{21: k // 3, 37: k % 3} for k in range(30)], amplitudes(30)),
        "is pre-stack: gathers",
    ),
    "shots": (
        lambda p: write_segy(p, [{9: k // 10, 13: k % 10} for k in range(30)], amplitudes(30)),
        "is pre-stack: gathers",
    ),
    "places taken twice": (
        lambda p: write_segy(p, [*grid((1, 2, 3)), *grid((1, 2, 3))], amplitudes(30)),
        "has several traces of",
    ),
    "numbers elsewhere": (
        lambda p: write_segy(p, [{17: h[189], 21: h[193]} for h in grid()], amplitudes(30)),
        "what looks like inlines at byte 17 and crosslines at 21: --inline_byte=17 --crossline_byte=21",
    ),
}
