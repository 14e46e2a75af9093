"""SEG-Y: post-stack volumes and 2-D lines, read a line at a time, and copies of a file with other samples.

The reading is segyio's; what a file is, where its traces lie, and why it is refused, is said here.
"""

import errno
import itertools
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
import segyio

from common.errors import InputError, refusals
from data.tiles import check_is_file

ENDINGS = (".sgy", ".segy")
TEXT, HEADERS, TRACE_HEADER = 3200, 3600, 240  # bytes: the text header, with the binary one, of a trace
FORMATS = {1: 4, 2: 4, 3: 2, 5: 4, 6: 8, 8: 1, 9: 8, 10: 4, 11: 2, 12: 8, 16: 1}  # that segyio reads -> bytes a sample
FLOAT, INT8 = 5, 8  # formats that are written
NUMBERS = {FLOAT: "f4", INT8: "i1"}
OFFSET, CDP, RECORD, TRACE_IN_RECORD = 37, 21, 9, 13  # bytes of a trace's header
# Fields of 4 bytes that may hold line numbers: the usual ones first, last those that count traces.
FIELDS = (189, 193, 9, 21, 17, 181, 185, 197, 73, 77, 81, 85, 205, 225, 233, 237, 25, 13, 5, 1)
SPARSE = 0.1  # share of an area's places that have a trace; below it the header bytes are doubted


def is_segy(path: str | Path) -> bool:
    """Whether a path is named as SEG-Y files are."""
    return Path(path).suffix.lower() in ENDINGS


@dataclass(frozen=True)
class Line:
    """Traces that make a section: their numbers in the file, and their columns, from `first` among the survey's on."""

    name: str
    traces: np.ndarray
    columns: np.ndarray
    first: int = 0

    @property
    def width(self) -> int:
        """Columns of the section, those without a trace included."""
        return int(self.columns[-1]) + 1


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
        self.path = Path(path)
        self.bytes = {"inline_byte": inline_byte, "crossline_byte": crossline_byte}
        self._reading = Lock()
        self.head, self.format, self.endian, size = _read_head(self.path)
        with _plain(self.path), warnings.catch_warnings(action="ignore"):
            try:
                self._file = segyio.open(self.path, ignore_geometry=True, endian=self.endian)
            except (RuntimeError, IndexError, ValueError):
                raise InputError(_wrong_length(self.path, self.head, self.format, self.endian, size)) from None
        self.traces, self.samples = self._file.tracecount, len(self._file.samples)
        if not self.samples:
            raise InputError(f"{self.path} has no samples: its headers say 0 for each trace; get the file again")
        self._begin = self._file.xfd.metrics()["trace0"]
        self._check_byte_order()
        self._place(self._field(inline_byte), self._field(crossline_byte))

    def _field(self, byte: int) -> np.ndarray:
        """What all trace headers have from this byte on."""
        if byte not in list(map(int, segyio.TraceField.enums())):
            raise InputError(f"no field of a trace header begins at byte {byte}; 189 and 193 are the usual ones")
        with _plain(self.path):
            return self._file.attributes(byte)[:]

    def _place(self, inline: np.ndarray, crossline: np.ndarray) -> None:
        """Give every trace its row and column among the inlines and crosslines; InputError: they make no sense."""
        inlines, self._rows = np.unique(inline, return_inverse=True)
        crosslines, self._columns = np.unique(crossline, return_inverse=True)
        places = self._rows * len(crosslines) + self._columns
        n, area = self.traces, len(inlines) * len(crosslines)
        if area == 1:
            places = self._field(CDP)
        order = np.lexsort((self._field(OFFSET), places))
        again = np.diff(places[order]) == 0  # traces of the same place as the one before
        if np.any(again & (np.diff(self._field(OFFSET)[order]) != 0)) or (area == 1 and self._has_shots()):
            raise InputError(
                f"{self.path} is pre-stack: gathers, whose traces differ in offset or shot; stack it first"
            )
        volume = 1 < len(inlines) < n and 1 < len(crosslines) < n
        doubtful = not volume or again.any() or n < SPARSE * area
        if doubtful and n > 3 and (found := self._find_lines()):
            raise InputError(
                f"{self.path} has no volume's line numbers at bytes {' and '.join(map(str, self.bytes.values()))}, but "
                f"what looks like inlines at byte {found[0]} and crosslines at {found[1]}: "
                f"--inline_byte={found[0]} --crossline_byte={found[1]}"
            )
        if volume and again.any():
            first = order[np.flatnonzero(again)[0]]
            raise InputError(
                f"{self.path} has several traces of inline {inline[first]}, crossline {crossline[first]}; give the "
                "bytes of its line numbers with --inline_byte and --crossline_byte, or remove what is there twice"
            )
        self.inlines, self.crosslines = (inlines, crosslines) if volume else (inlines[:0], crosslines[:0])

    def _has_shots(self) -> bool:
        """Whether several records have several traces each, as shot gathers do."""
        records, receivers = (len(np.unique(self._field(byte))) for byte in (RECORD, TRACE_IN_RECORD))
        return 1 < records < self.traces and 1 < receivers < self.traces

    def _find_lines(self) -> tuple[int, int] | None:
        """The first two header fields that number a well filled area, inlines the slower one; None: there are none."""
        fields = {byte: self._field(byte) for byte in FIELDS}
        ranks = {byte: np.unique(values, return_inverse=True) for byte, values in fields.items()}
        ranks = {byte: rank for byte, rank in ranks.items() if 1 < len(rank[0]) < self.traces}
        for slow, fast in itertools.permutations(ranks, 2):
            (a, rows), (b, columns) = ranks[slow], ranks[fast]
            if not self.traces <= len(a) * len(b) <= 2 * self.traces:
                continue
            changes = [np.count_nonzero(np.diff(values)) for values in (rows, columns)]
            if changes[0] < changes[1] and len(np.unique(rows * len(b) + columns)) == self.traces:
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

    @property
    def fingerprint(self) -> str:
        """What tells it from other files, as far as its headers do."""
        return f"{self}, text and binary header {zlib.crc32(self.head):08x}"

    def lines(self, direction: str) -> list[Line]:
        """The "inline" or "crossline" sections, in order of their numbers; of a single line, that one.

        A trace's column is its place among the survey's numbers, so a trace that a line lacks leaves a gap.
        """
        if not self.is_volume:
            return [Line("line", np.arange(self.traces), np.arange(self.traces))]
        numbers, line, across = {
            "inline": (self.inlines, self._rows, self._columns),
            "crossline": (self.crosslines, self._columns, self._rows),
        }[direction]
        order = np.lexsort((across, line))
        parts = np.split(order, np.flatnonzero(np.diff(line[order])) + 1)
        return [
            Line(f"{direction} {number}", part, across[part] - across[part[0]], int(across[part[0]]))
            for number, part in zip(numbers, parts, strict=True)
        ]

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

    def begin_copy(self, path: Path, format: int, note: str) -> None:
        """Make a file of this one's size and headers, yet without traces; `note`: a line for its text header.

        All of its space is taken now. OSError: there is not enough.
        """
        with open(path, "wb") as file:
            with open(self.path, "rb") as source:
                head = bytearray(source.read(self._begin))
            head[:TEXT] = _note(head[:TEXT], note)
            head[3224:3226] = format.to_bytes(2, self.endian)
            file.write(head)
            file.flush()
            size = self._begin + self.traces * (TRACE_HEADER + self.samples * FORMATS[format])
            os.posix_fallocate(file.fileno(), 0, size)

    def write(self, file: int, traces: np.ndarray, values: np.ndarray, format: int) -> None:
        """Write traces (N, samples) with their headers to their places in a copy, an open file's descriptor."""
        kind = np.dtype(NUMBERS[format]).newbyteorder(self.endian)
        size = TRACE_HEADER + self.samples * FORMATS[format]
        for trace, row in zip(traces.tolist(), values.astype(kind), strict=True):
            put(file, self._header(trace) + row.tobytes(), self._begin + trace * size)

    def _header(self, trace: int) -> bytes:
        """A trace's header as it stands in the file."""
        at = self._begin + trace * (TRACE_HEADER + self.samples * FORMATS[self.format])
        return os.pread(self._source.fileno(), TRACE_HEADER, at)

    @cached_property
    def _source(self) -> BinaryIO:
        return open(self.path, "rb")


def put(file: int, content: bytes, at: int) -> None:
    """Write all of `content` at a place of an open file; OSError when it does not fit."""
    if os.pwrite(file, content, at) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# ---- what a file is ------------------------------------------------------------------------------------------


@contextmanager
def _plain(path: Path) -> Iterator[None]:
    """Say what the system or segyio has against a file in one line."""
    try:
        with refusals("read", path, "get the file again"):
            yield
    except (RuntimeError, IndexError, ValueError) as error:
        raise InputError(f"{path} cannot be read as SEG-Y ({error}); get the file again") from None


def _read_head(path: Path) -> tuple[bytes, int, str, int]:
    """The text and the binary header of a file, its sample format, its byte order and its length in bytes.

    The format's code, 1 to 16, tells the byte order: swapped it would be no code.
    """
    with _plain(path):
        size = check_is_file(path)
        with open(path, "rb") as file:
            head = file.read(HEADERS)
    if len(head) < HEADERS:
        raise InputError(f"{path} is no SEG-Y: it has {size} bytes, the headers alone would have {HEADERS}")
    codes = {order: int.from_bytes(head[3224:3226], order) for order in ("big", "little")}
    for order, code in codes.items():
        if code in FORMATS:
            return head, code, order, size
        if code in (4, 7, 15):
            raise InputError(f"{path} has samples of the format {code}, which is not read; write it as IEEE floats (5)")
    raise InputError(
        f"{path} is no SEG-Y: bytes 3225 and 3226, the sample format, are {codes['big']}, not 1 to 16; name a .sgy"
    )


def _wrong_length(path: Path, head: bytes, format: int, endian: str, size: int) -> str:
    """What is said of a file whose length does not fit its headers."""
    samples, texts = int.from_bytes(head[3220:3222], endian), int.from_bytes(head[3504:3506], endian, signed=True)
    record = TRACE_HEADER + samples * FORMATS[format]
    traces, rest = divmod(size - HEADERS - TEXT * max(texts, 0), record)
    if traces <= 0:
        return f"{path} has no traces: {size} bytes, and its headers say {record} for each; get the file again"
    return (
        f"{path} is truncated, or its headers say another length than it has: {rest} bytes are left after {traces} "
        f"traces of {samples} samples (bytes 3221 and 3222); get the file again"
    )


def _roughness(values: np.ndarray) -> float:
    """How much traces (N, samples) change from one sample to the next, by their mean deviation; inf: not at all."""
    with np.errstate(all="ignore"):
        values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
        deviation = np.abs(values - values.mean()).mean()
        return float(np.abs(np.diff(values)).mean() / deviation) if deviation else np.inf


def _note(text: bytes, note: str) -> bytes:
    """A text header with a note in its last empty line but the two that revision 1 wants, else in that before them."""
    code = "cp037" if text.count(b"\x40") >= text.count(b" ") else "ascii"  # blanks of EBCDIC, of ASCII
    lines = [text[k : k + 80].decode(code, "replace") for k in range(0, TEXT, 80)]
    empty = [k for k, line in enumerate(lines[:38]) if not line[4:].strip(" \0")]
    k = empty[-1] if empty else 37
    said = (lines[k][:4] if lines[k][:1] == "C" else f"C{k + 1:2} ") + note.upper()
    return text[: 80 * k] + said[:80].ljust(80).encode(code, "replace") + text[80 * k + 80 :]
