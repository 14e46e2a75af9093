"""A sample survey: a seismic volume with salt, and its true mask, as SEG-Y.

    python -m data.sample --survey=survey.sgy                # and survey_mask.sgy
    python -m data.sample --survey=survey.sgy --survey_size=300x300x500

Modelled as the sample tiles are (data/synthetic/tiles.py), at the scale that these have on average, but in three
dimensions: layers with folds and faults, dragged up by salt that continues from line to line.
"""

import argparse
import math
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import segyio

from common.errors import InputError
from common.files import replacing
from data.synthetic.waves import ricker, texture

SIZE = (120, 200, 240)  # inlines, crosslines, samples
FIRST_INLINE, FIRST_CROSSLINE, INTERVAL, SPACING = 100, 300, 4000, 25  # numbers; microseconds; metres
SHARE = 0.25  # of salt
# Lengths in lines, traces or samples. Windows of 101 fit them: another scale would look strange to networks.
WAVELENGTH = 15
BODIES = ((150, 0.5), (60, 0.12), (25, 0.03))  # of salt: lengths over which they change, and their weights
REACH = 45  # over which salt drags layers up
COHERENT = 4  # over which what is incoherent changes


def survey_size(text: str) -> tuple[int, int, int]:
    """Parse inlines, crosslines and samples, as in 120x200x240, for argparse."""
    sides = text.split("x")
    if len(sides) != 3 or not all(side.isdecimal() and 1 <= int(side) <= 10_000 for side in sides):
        raise argparse.ArgumentTypeError(f"'{text}' is not inlines x crosslines x samples, as in 120x200x240")
    return tuple(map(int, sides))


class Field:
    """A smooth random field over a volume, mean about 0 and std about 1, read a line at a time."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int, int], *lengths: float):
        """Draw a field of `size` inlines, crosslines and samples; `lengths`: over how many of each it changes."""
        self.size, self.length = size, lengths[0]
        nodes = [math.ceil(n / length) + 4 for n, length in zip(size, lengths, strict=True)]
        self.coarse = 1.6 * rng.standard_normal((nodes[0], nodes[2], nodes[1]), dtype=np.float32)
        self.shape = round(nodes[1] * lengths[1]), round(nodes[2] * lengths[2])  # width, height, with a margin

    def __getitem__(self, line: int) -> np.ndarray:
        """Compute the field on an inline: (samples, crosslines)."""
        first, t = divmod(line / self.length, 1)  # cubic B-spline between four planes
        weights = np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
        plane = np.tensordot(weights.astype(np.float32), self.coarse[int(first) : int(first) + 4], 1)
        left, top = ((a - b) // 2 for a, b in zip(self.shape, self.size[1:], strict=True))
        plane = cv2.resize(plane, self.shape, interpolation=cv2.INTER_CUBIC)
        return plane[top : top + self.size[2], left : left + self.size[1]]


class Volume:
    """A volume's geology, and its lines."""

    def __init__(self, size: tuple[int, int, int], seed: int):
        rng = np.random.default_rng(seed)
        self.size, self.seed = size, seed
        n, width = size[:2]
        self.bodies = [(weight, Field(rng, size, length, length, length)) for length, weight in BODIES]
        self.folds = Field(rng, size, 100, 100, 200)
        self.gain = Field(rng, size, 100, 100, 100)
        self.dip = rng.normal(0, 0.12, 2)  # samples a trace, samples a line
        self.faults = [
            (rng.uniform(0, width), rng.normal(0, 0.5), rng.normal(0, 0.3), rng.normal(0, WAVELENGTH)) for _ in range(3)
        ]
        self.series = int(rng.integers(2**32))  # seeds the layers: the same in every line
        some = np.stack([self._field(line) for line in np.linspace(0, n - 1, min(n, 24)).astype(int)])
        self.level = np.quantile(some, 1 - SHARE)

    def _field(self, line: int) -> np.ndarray:
        """Compute what exceeds a level where salt is: mostly below."""
        down = np.linspace(0, 1, self.size[2], dtype=np.float32)[:, None]
        return 0.7 * down + sum(weight * field[line] for weight, field in self.bodies)

    def line(self, line: int) -> tuple[np.ndarray, np.ndarray]:
        """Compute amplitudes float32 and the true mask, uint8 {0, 1}, of an inline, both (samples, crosslines)."""
        n, width, height = self.size
        salt = (self._field(line) > self.level).astype(np.uint8)
        inside, outside = (cv2.distanceTransform(m, cv2.DIST_L2, cv2.DIST_MASK_5) for m in (salt, 1 - salt))
        distance = cv2.GaussianBlur(inside - outside, (0, 0), 0.7)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        depth = y + self.dip[0] * x + self.dip[1] * line + 12 * self.folds[line]
        for at, lean, turn, throw in self.faults:
            depth += np.clip((x - at - lean * (y - height / 2) - turn * (line - n / 2)) / 4, 0, 1) * throw
        depth += 0.6 * REACH * np.exp(np.minimum(distance, 0) / REACH)  # dragged up by salt
        layers = self._layers(depth) * np.exp(0.3 * self.gain[line])
        layers += 0.25 * self._noise(line, 1.0, 0.0)
        inner = 0.45 * (self._noise(line, 1.3, math.pi / 2) + 0.2 * layers)
        downwards = cv2.Sobel(cv2.GaussianBlur(distance, (0, 0), 4), cv2.CV_32F, 0, 1, scale=1 / 8)
        border = 3 * ricker(distance, WAVELENGTH) * (0.8 * downwards + 0.1)
        image = layers + (inner - layers) / (1 + np.exp(-np.clip(distance, -30, 30))) + border
        return (1000 * image).astype(np.float32), (distance > 0).astype(np.uint8)

    def _noise(self, line: int, scale: float, angle: float) -> np.ndarray:
        """Compute incoherent reflections, std 1, that change from one line to the next by and by."""
        node, t = divmod(line / COHERENT, 1)
        before, after = (self._texture(int(node) + k, scale, angle) for k in (0, 1))
        return math.cos(t * math.pi / 2) * before + math.sin(t * math.pi / 2) * after

    @lru_cache(maxsize=4)  # noqa: B019, a volume is made once
    def _texture(self, node: int, scale: float, angle: float) -> np.ndarray:
        rng = np.random.default_rng([self.seed, node, round(100 * angle)])
        return texture(rng, max(self.size[1:]), scale * WAVELENGTH, WAVELENGTH, angle)[: self.size[2], : self.size[1]]

    def _layers(self, depth: np.ndarray) -> np.ndarray:
        """Compute reflections of the layers at `depth`, std about 1."""
        step = 0.25
        grid = np.arange(-self.size[2], 2 * self.size[2], step)
        rng = np.random.default_rng(self.series)
        series = rng.laplace(size=len(grid)) * (rng.random(len(grid)) < 0.4 * step)
        wave = np.convolve(series, ricker(np.arange(-2 * WAVELENGTH, 2 * WAVELENGTH, step), WAVELENGTH), "same")
        return np.interp(depth, grid, wave / wave.std()).astype(np.float32)


def make_survey(path: str | Path, *, size: tuple[int, int, int] = SIZE, seed: int = 1) -> Path:
    """Write a volume of `size` inlines, crosslines and samples to `path`, and beside it its mask; returns the mask's.

    IBM floats, as most files have, and 8-bit integers. The same seed gives the same bytes.

    Raises:
        InputError: one of them exists, or cannot be written.
    """
    path = Path(path)
    mask_path = path.with_name(f"{path.stem}_mask{path.suffix}")
    for made in (path, mask_path):
        if made.exists():
            raise InputError(f"{made} exists; move it away or choose another --survey")
    volume = Volume(size, seed)
    with replacing(path) as image, replacing(mask_path) as mask, ExitStack() as stack:
        files = [stack.enter_context(_create(*made, size)) for made in ((image, 1), (mask, 8))]
        for k in range(size[0]):
            for file, section in zip(files, volume.line(k), strict=True):
                file.trace[k * size[1] : (k + 1) * size[1]] = np.ascontiguousarray(section.T, file.dtype)
    return mask_path


def _create(path: Path, format: int, size: tuple[int, int, int]) -> segyio.SegyFile:
    """Make an empty SEG-Y file for such a volume, opened by segyio."""
    spec = segyio.spec()
    spec.format, spec.tracecount, spec.samples = format, size[0] * size[1], np.arange(size[2]) * INTERVAL / 1000
    file, field = segyio.create(path, spec), segyio.TraceField
    lines = {1: "SAMPLE SURVEY: GENERATED, NOT RECORDED", 2: "INLINE IN BYTES 189-192, CROSSLINE IN 193-196"}
    file.text[0] = segyio.tools.create_text_header(lines | {39: "SEG Y REV1", 40: "END TEXTUAL HEADER"})
    file.bin.update({segyio.BinField.Traces: size[1], segyio.BinField.SortingCode: 4, segyio.BinField.SEGYRevision: 1})
    for k, (line, trace) in enumerate(np.ndindex(size[:2])):
        file.header[k] = {
            field.TRACE_SEQUENCE_FILE: k + 1,
            field.CDP: k + 1,
            field.TraceIdentificationCode: 1,
            field.TRACE_SAMPLE_COUNT: size[2],
            field.TRACE_SAMPLE_INTERVAL: INTERVAL,
            field.CDP_X: trace * SPACING,
            field.CDP_Y: line * SPACING,
            field.INLINE_3D: FIRST_INLINE + line,
            field.CROSSLINE_3D: FIRST_CROSSLINE + trace,
        }
    return file
