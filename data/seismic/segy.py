"""SEG-Y: post-stack volumes and 2-D lines, read a line at a time, and copies of a file with other samples.

The reading is segyio's; what a file is, where its traces lie, and why it is refused, is said here.
"""

import errno
import itertools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from weakref import finalize

import numpy as np
import segyio

from common.errors import InputError, refusals
from data.tiles import check_is_file

ENDINGS = (".sgy", ".segy")
TEXT, HEADERS, TRACE_HEADER = 3200, 3600, 240  # bytes: the text header, with the binary one, of a trace
FORMATS = {1: "f4", 2: "i4", 3: "i2", 5: "f4", 6: "f8", 8: "i1", 9: "i8", 10: "u4", 11: "u2", 12: "u8", 16: "u1"}
FLOAT, INT8 = 5, 8  # formats that are written
OFFSET, CDP, RECORD, TRACE_IN_RECORD = 37, 21, 9, 13  # bytes of a trace's header
# Fields of 4 bytes that may hold line numbers: the usual ones first, last those that count traces.
FIELDS = (189, 193, 9, 21, 17, 181, 185, 197, 73, 77, 81, 85, 205, 225, 233, 237, 25, 13, 5, 1)
SLICES = {"inline": ("inline",), "crossline": ("crossline",), "both": ("inline", "crossline")}
SPARSE = 0.1  # share of an area's places that have a trace; below it the header bytes are doubted


def is_segy(path: str | Path) -> bool:
    """Tell whether a path is named as SEG-Y files are."""
    return Path(path).suffix.lower() in ENDINGS


@dataclass(frozen=True)
class Line:
    """Traces that make a section: their places in the file, their line numbers, and these numbers' places among all."""

    name: str
    traces: np.ndarray
    numbers: np.ndarray
    columns: np.ndarray

    @property
    def places(self) -> np.ndarray:
        """The traces' columns in the section, which begins with the first of them."""
        return self.columns - self.columns[0]

    @property
    def width(self) -> int:
        """Columns of the section, those without a trace included."""
        return int(self.places[-1]) + 1

    def section(self, traces: np.ndarray, blank: float = 0) -> np.ndarray:
        """Lay traces (N, samples) side by side: (samples, width), `blank` where a trace is missing."""
        section = np.full((traces.shape[1], self.width), blank, traces.dtype)
        section[:, self.places] = traces.T
        return section


class Survey:
    """A post-stack SEG-Y file: a volume of inlines and crosslines, or a single line.

    `traces`, `samples`: how many, of each; `endian`: "big" or "little"; `inlines`, `crosslines`: the numbers that
    occur, sorted, both empty for a single line, whose traces are taken in their order.
    """

    def __init__(self, path: str | Path, *, inline_byte: int = 189, crossline_byte: int = 193):
        """Open and check a file; the bytes are where trace headers have the line numbers, those of SEG-Y revision 1.

        Raises:
            InputError: it cannot be read, is no SEG-Y, truncated, pre-stack, or has its line numbers elsewhere.
        """
        self.path, self.bytes, self._reading = Path(path), (inline_byte, crossline_byte), Lock()
        with _plain(self.path), warnings.catch_warnings(action="ignore"):
            size = check_is_file(self.path)
            with open(self.path, "rb") as file:
                self.head = file.read(HEADERS)
            self.endian = self._find_byte_order()
            try:
                self._file = segyio.open(self.path, ignore_geometry=True, endian=self.endian)
            except (RuntimeError, IndexError, ValueError):
                raise InputError(self._wrong_length(size)) from None
        facts = self._file.xfd.metrics()
        self.traces, self.samples, self.format = facts["tracecount"], facts["samplecount"], facts["format"]
        self.begin, self.size = facts["trace0"], TRACE_HEADER + facts["trace_bsize"]
        if not self.samples:
            raise InputError(f"{self.path} has no samples: its headers say 0 for each trace; get the file again")
        self._check_byte_order()
        self._place()

    def _find_byte_order(self) -> str:
        """Tell it by the sample format's code, 1 to 16, which swapped is none."""
        for endian in ("big", "little"):
            if int.from_bytes(self.head[3224:3226], endian) in FORMATS:
                return endian
        raise InputError(
            f"{self.path} is no SEG-Y, or has samples of a format that is not read: its bytes 3225 and 3226 say "
            f"{int.from_bytes(self.head[3224:3226])}, not 1, 2, 3, 5, 6, 8 to 12 or 16; write it as floats (5)"
        )

    def _wrong_length(self, size: int) -> str:
        """Say what is wrong with a file whose length does not fit its headers."""
        samples = int.from_bytes(self.head[3220:3222], self.endian)
        texts = int.from_bytes(self.head[3504:3506], self.endian, signed=True)
        format = int.from_bytes(self.head[3224:3226], self.endian)
        record = TRACE_HEADER + samples * np.dtype(FORMATS[format]).itemsize
        traces, rest = divmod(size - HEADERS - TEXT * max(texts, 0), record)
        if traces <= 0:
            return f"{self.path} has no traces: {size} bytes, and its headers say {record} for each; get the file again"
        return (
            f"{self.path} is truncated, or its headers say another length than it has: {rest} bytes are left after "
            f"{traces} traces of {samples} samples (bytes 3221 and 3222); get the file again"
        )

    def _check_byte_order(self) -> None:
        """Refuse a file whose samples are swapped, which makes them rough, or whose headers contradict each other."""
        said = int.from_bytes(self.head[3296:3300], self.endian)
        values = self.sample(50)
        swapped = self.format != 1 and _roughness(values.byteswap()) < 0.6 * _roughness(values)
        if said in (0x04030201, 0x02010403) or swapped:
            raise InputError(
                f"{self.path} has two byte orders: its headers are {self.endian}-endian, "
                f"{'its samples' if swapped else 'bytes 3297 to 3300 of its header'} are not; write it in one"
            )

    def _field(self, byte: int) -> np.ndarray:
        """Read what all trace headers have from this byte on."""
        if byte not in list(map(int, segyio.TraceField.enums())):
            raise InputError(f"no field of a trace header begins at byte {byte}; 189 and 193 are the usual ones")
        with _plain(self.path):
            return self._file.attributes(byte)[:]

    def _place(self) -> None:
        """Give every trace its row and column among the inlines and crosslines; InputError: they make no sense."""
        inline, crossline = map(self._field, self.bytes)
        inlines, self._rows = np.unique(inline, return_inverse=True)
        crosslines, self._columns = np.unique(crossline, return_inverse=True)
        n, area = self.traces, len(inlines) * len(crosslines)
        places = self._rows * len(crosslines) + self._columns if area > 1 else self._field(CDP)
        offsets = self._field(OFFSET)
        order = np.lexsort((offsets, places))
        again = np.diff(places[order]) == 0  # traces of the same place as the one before
        if np.any(again & (np.diff(offsets[order]) != 0)) or (area == 1 and self._has_shots()):
            raise InputError(
                f"{self.path} is pre-stack: gathers, whose traces differ in offset or shot; stack it first"
            )
        volume = 1 < len(inlines) < n and 1 < len(crosslines) < n
        doubtful = not volume or again.any() or n < SPARSE * area
        if doubtful and n > 3 and (found := self._find_lines()):
            raise InputError(
                f"{self.path} has no volume's line numbers at bytes {self.bytes[0]} and {self.bytes[1]}, but what "
                f"looks like inlines at byte {found[0]} and crosslines at {found[1]}: "
                f"--inline_byte={found[0]} --crossline_byte={found[1]}"
            )
        if volume and again.any():
            twice = order[:-1][again][0]
            raise InputError(
                f"{self.path} has several traces of inline {inline[twice]}, crossline {crossline[twice]}; remove what "
                "is there twice, or give --inline_byte and --crossline_byte where they are others"
            )
        self.inlines, self.crosslines = (inlines, crosslines) if volume else (inlines[:0], crosslines[:0])

    def _has_shots(self) -> bool:
        """Tell whether several records have several traces each, as shot gathers do."""
        return all(1 < len(np.unique(self._field(byte))) < self.traces for byte in (RECORD, TRACE_IN_RECORD))

    def _find_lines(self) -> tuple[int, int] | None:
        """Find the first two header fields that number a well filled area, inlines slower; None: there are none."""
        ranks = {byte: np.unique(self._field(byte), return_inverse=True) for byte in FIELDS}
        ranks = {byte: rank for byte, rank in ranks.items() if 1 < len(rank[0]) < self.traces}
        for slow, fast in itertools.permutations(ranks, 2):
            (a, rows), (b, columns) = ranks[slow], ranks[fast]
            if (
                self.traces <= len(a) * len(b) <= 2 * self.traces
                and np.count_nonzero(np.diff(rows)) < np.count_nonzero(np.diff(columns))
                and len(np.unique(rows * len(b) + columns)) == self.traces
            ):
                return slow, fast
        return None

    @property
    def is_volume(self) -> bool:
        """Whether it has inlines and crosslines."""
        return len(self.inlines) > 0

    def __str__(self) -> str:
        if self.is_volume:
            sides = f"{len(self.inlines)} inlines x {len(self.crosslines)} crosslines x {self.samples} samples"
            return f"{sides}, {self.traces} traces"
        return f"a line of {self.traces} traces x {self.samples} samples"

    def lines(self, direction: str) -> list[Line]:
        """List the "inline" or "crossline" sections, in order of their numbers; of a single line, that one.

        A trace's column is its place among the survey's numbers, so a trace that a line lacks leaves a gap.
        """
        if not self.is_volume:
            return [Line("line", *[np.arange(self.traces)] * 3)]
        inline, crossline = (self.inlines, self._rows), (self.crosslines, self._columns)
        (names, rows), (numbers, columns) = (inline, crossline) if direction == "inline" else (crossline, inline)
        order = np.lexsort((columns, rows))
        parts = np.split(order, np.flatnonzero(np.diff(rows[order])) + 1)
        lines = zip(names, parts, strict=True)
        return [Line(f"{direction} {name}", part, numbers[columns[part]], columns[part]) for name, part in lines]

    def read(self, traces: np.ndarray) -> np.ndarray:
        """Read traces by their numbers: (N, samples), of the type that the file has, IBM floats as float32."""
        with self._reading, _plain(self.path):
            steps = np.unique(np.diff(traces))
            if len(steps) == 1 and steps[0] > 0:
                return self._file.trace.raw[int(traces[0]) : int(traces[-1]) + 1 : int(steps[0])]
            return np.stack([self._file.trace.raw[int(trace)] for trace in traces])

    def sample(self, count: int = 2000, seed: int = 0) -> np.ndarray:
        """Read up to `count` traces, drawn from the whole file with a seed, in their order: (N, samples)."""
        drawn = np.random.default_rng(seed).choice(self.traces, min(count, self.traces), replace=False)
        return self.read(np.sort(drawn))


class Copy:
    """A SEG-Y file with all headers of a survey and other samples, FLOAT or INT8; any process may write its traces."""

    def __init__(self, survey: Survey, path: Path, format: int):
        self.survey, self.path, self.format = survey, path, format
        self._samples = np.dtype(FORMATS[format]).newbyteorder(survey.endian)
        self._size = TRACE_HEADER + survey.samples * self._samples.itemsize  # bytes of a trace

    def create(self, note: str) -> None:
        """Make the file, yet without traces; `note`: a line for its text header.

        All of its space is taken now. OSError: there is not enough.
        """
        with open(self.survey.path, "rb") as source, open(self.path, "wb", buffering=0) as file:
            head = bytearray(source.read(self.survey.begin))
            head[:TEXT] = _note(head[:TEXT], note)
            head[3224:3226] = self.format.to_bytes(2, self.survey.endian)
            file.write(head)
            os.posix_fallocate(file.fileno(), 0, self.survey.begin + self.survey.traces * self._size)

    @cached_property
    def _files(self) -> tuple[int, int]:
        opened = os.open(self.survey.path, os.O_RDONLY), os.open(self.path, os.O_RDWR)
        finalize(self, lambda: [*map(os.close, opened)])  # with this object
        return opened

    def write(self, traces: np.ndarray, values: np.ndarray) -> None:
        """Write traces (N, samples) with their headers to their places; OSError when the disk is full."""
        source, file = self._files
        for trace, row in zip(traces.tolist(), values.astype(self._samples), strict=True):
            content = os.pread(source, TRACE_HEADER, self.survey.begin + trace * self.survey.size) + row.tobytes()
            if os.pwrite(file, content, self.survey.begin + trace * self._size) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read(self, traces: np.ndarray) -> np.ndarray:
        """Read the samples of traces that were written: (N, samples), float32 or int8."""
        size = self._size - TRACE_HEADER
        places = (self.survey.begin + trace * self._size + TRACE_HEADER for trace in traces.tolist())
        rows = b"".join(os.pread(self._files[1], size, place) for place in places)
        return np.frombuffer(rows, self._samples).reshape(len(traces), -1)

    def flush(self) -> None:
        """Wait until what was written is on the disk."""
        os.fdatasync(self._files[1])


# ---- helpers ------------------------------------------------------------------------------------------


@contextmanager
def _plain(path: Path) -> Iterator[None]:
    """Say what the system or segyio has against a file in one line."""
    try:
        with refusals("read", path, "get the file again"):
            yield
    except (RuntimeError, IndexError, ValueError) as error:
        raise InputError(f"{path} cannot be read as SEG-Y ({error}); get the file again") from None


def _roughness(values: np.ndarray) -> float:
    """Measure how much traces (N, samples) change between samples, by their mean deviation; inf: not at all."""
    with np.errstate(all="ignore"):
        values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
        deviation = np.abs(values - values.mean()).mean()
        return float(np.abs(np.diff(values)).mean() / deviation) if deviation else np.inf


def _note(text: bytes, note: str) -> bytes:
    """Put a note into a text header's last empty line but the two that revision 1 wants, else into that before them."""
    code = "cp037" if text.count(b"\x40") >= text.count(b" ") else "ascii"  # blanks of EBCDIC, of ASCII
    lines = [text[k : k + 80].decode(code, "replace") for k in range(0, TEXT, 80)]
    empty = [k for k, line in enumerate(lines[:38]) if not line[4:].strip(" \0")]
    k = empty[-1] if empty else 37
    said = (lines[k][:4] if lines[k][:1] == "C" else f"C{k + 1:2} ") + note.upper()
    return text[: 80 * k] + said[:80].ljust(80).encode(code, "replace") + text[80 * k + 80 :]
