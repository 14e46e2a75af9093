"""SEG-Y files to read: as they should be, and odd ones."""

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
