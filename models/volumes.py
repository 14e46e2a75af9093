"""Salt in a SEG-Y survey: its lines predicted one after another, by one process or shared among the ranks of a ring.

What is written lies in a hidden folder until all of it is there, with a list of the lines that are. A line's result
depends on that line alone, never on who predicts it, or when: any number of ranks, and a run that was stopped and
goes on, leave the same bytes.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np

from common.digests import digest
from common.errors import InputError, refusals
from common.files import replacing
from common.locks import held
from common.progress import bar
from data.amplitudes import Stretch, describe_gray
from data.png import encode_png
from data.probabilities import _writing_array as writing_array
from data.sections import outline
from data.segy import FLOAT, INT8, Line, Survey, put
from models.decision import salt_mask
from models.ensemble import Ensemble
from models.windows import count_windows, predict_section

SLICES = {"inline": ("inline",), "crossline": ("crossline",), "both": ("inline", "crossline")}
SYNC = 5.0  # seconds after which finished lines are made sure of; a killed run repeats what it has done since
SHOWN = 4  # lines in the picture


class Walk:
    """The way through a survey's lines, and what is found on it."""

    def __init__(self, survey: Survey, *, slices: str = "inline", tile: int, overlap: float, batch_size: int):
        """Fit the stretch of amplitudes, and choose the windows. InputError: the survey is too small, or is empty."""
        if slices != "inline" and not survey.is_volume:
            raise InputError(f"{survey.path} is a single line, without inlines and crosslines; leave out --slices")
        self.survey, self.tile, self.overlap = survey, tile, overlap
        self.directions = SLICES[slices]
        self.lines = {direction: survey.lines(direction) for direction in self.directions}
        for lines in self.lines.values():
            height, width = survey.samples, max(line.width for line in lines)
            if min(height, width) < tile:
                raise InputError(
                    f"{survey.path} is smaller than a window of {tile}: its sections have {width} traces of {height} "
                    f"samples; give a smaller --tile"
                )
        sample = survey.sample().T
        self.stretch = Stretch.fit(sample)
        gray, nothing = self.stretch.gray(sample)
        self.remark = describe_gray(gray, nothing)
        if nothing.all():
            raise InputError(f"{survey.path} has no amplitudes: all that is sampled is dead, a fill value or NaN")
        self.batch_size = self._choose_batch_size(batch_size)

    def _choose_batch_size(self, most: int) -> int:
        """The batch size up to `most` with which the fewest windows are computed: a last batch is filled up."""
        counts = [self._count(line) for lines in self.lines.values() for line in lines]
        kinds, times = np.unique(counts, return_counts=True)
        most = min(most, int(kinds[-1]))
        return min(range(most, most // 2, -1), key=lambda size: int((-(-kinds // size) * size * times).sum()))

    def _count(self, line: Line) -> int:
        return count_windows((self.survey.samples, line.width), self.tile, self.overlap)

    def predict(self, line: Line, predict) -> tuple[np.ndarray, np.ndarray]:
        """Salt probabilities float32 and which samples mean nothing, bool, of a line's traces: (traces, samples)."""
        gray, nothing = self.section(line)
        probabilities = predict_section(gray, predict, tile=self.tile, overlap=self.overlap, batch_size=self.batch_size)
        probabilities[nothing] = 0
        return probabilities[:, line.columns].T, nothing[:, line.columns].T

    def section(self, line: Line) -> tuple[np.ndarray, np.ndarray]:
        """Gray values uint8 and which samples mean nothing, bool, (samples, width): where traces lack, nothing does."""
        shape = self.survey.samples, line.width
        gray, nothing = np.full(shape, self.stretch.blank, np.uint8), np.ones(shape, bool)
        gray[:, line.columns], nothing[:, line.columns] = self.stretch.gray(self.survey.read(line.traces).T)
        return gray, nothing

    def mask(self, line: Line, probabilities: np.ndarray, ensemble: Ensemble) -> np.ndarray:
        """Salt of a line's traces, uint8 {0, 1} (traces, samples), patches below the minimum area left out."""
        section = np.zeros((self.survey.samples, line.width), np.float32)
        section[:, line.columns] = probabilities.T
        return salt_mask(section, ensemble.threshold, ensemble.min_area)[:, line.columns].T


class Unfinished:
    """A folder with the files that a survey's prediction writes, of their final size, and the lines that are done."""

    def __init__(self, folder: Path, walk: Walk, *, mask: bool):
        self.folder, self.walk = folder, walk
        self.formats = {"_salt.sgy": FLOAT} | ({"_mask.sgy": INT8} if mask else {})
        self.first = folder / "first" if len(walk.directions) > 1 else None  # probabilities of the first direction

    @property
    def paths(self) -> dict[str, Path]:
        """What a file's name will end in, and where it is until then."""
        return {ending: self.folder / ending.lstrip("_") for ending in self.formats}

    def begin(self, note: str) -> None:
        """Make the files unless they are there, and take all their space at once. InputError: there is not enough."""
        made = [*self.paths.values(), *([self.first] if self.first else [])]
        if all(path.is_file() for path in made) and (self.folder / "begun").is_file():
            return
        survey = self.walk.survey
        try:
            for ending, format in self.formats.items():
                kind = {FLOAT: "SALT PROBABILITY 0 TO 1", INT8: "SALT MASK 0 OR 1"}[format]
                survey.begin_copy(self.paths[ending], format, f"{kind} {note}")
            if self.first:
                with open(self.first, "wb") as file:
                    os.posix_fallocate(file.fileno(), 0, survey.traces * survey.samples * 4)
            (self.folder / "begun").touch()
        except OSError as error:
            shutil.rmtree(self.folder)
            raise InputError(
                f"cannot write {self.folder.parent}: {error.strerror}; make room, or choose another --submission_path"
            ) from None

    def done(self, direction: str) -> dict[int, dict]:
        """The lines of a direction that are done, by number, and what was counted in each."""
        found = {}
        for path in sorted(self.folder.glob(f"{direction}_*")):
            for text in path.read_text().splitlines():
                with contextlib.suppress(ValueError):  # the last one may be half
                    record = json.loads(text)
                    found[record["line"]] = record
        return found

    def work(self, direction: str, numbers: list[int], ensemble: Ensemble, rank: int, progress) -> None:
        """Predict these lines of a direction and write their traces; `progress` is told after each."""
        lines, last = self.walk.lines[direction], direction == self.walk.directions[-1]
        with self._open() as files, open(self.folder / f"{direction}_{rank}", "a", encoding="utf-8") as journal:
            journal.write("\n")  # after half a line of a run that was killed
            records, since = [], time.monotonic()
            try:
                for k in numbers:
                    probabilities, nothing = self.walk.predict(lines[k], ensemble.predictor)
                    store = self._store_last if last else self._store_first
                    salt = store(files, lines[k], probabilities, ensemble)
                    dead = int(nothing.all(axis=1).sum())
                    records.append({"line": k, "salt": salt, "nothing": int(nothing.sum()), "dead": dead})
                    progress(1)
                    if time.monotonic() - since > SYNC:
                        self._note(journal, files, records)
                        records, since = [], time.monotonic()
            finally:
                self._note(journal, files, records)

    def _note(self, journal, files: dict[str, int], records: list[dict]) -> None:
        """Write down lines as done, once their traces are on the disk."""
        for file in files.values():
            os.fdatasync(file)
        journal.write("".join(json.dumps(record) + "\n" for record in records))
        journal.flush()

    @contextmanager
    def _open(self) -> Iterator[dict[str, int]]:
        """The files, opened; what the disk refuses is an InputError."""
        with ExitStack() as stack:
            files = {}
            for name, path in (self.paths | ({"first": self.first} if self.first else {})).items():
                files[name] = os.open(path, os.O_RDWR)
                stack.callback(os.close, files[name])
            with refusals("write", self.folder, "the same command goes on"):
                yield files

    def _store_first(self, files: dict[str, int], line: Line, probabilities: np.ndarray, ensemble: Ensemble) -> int:
        """Keep what the first of two directions has found."""
        size = self.walk.survey.samples * 4
        for trace, row in zip(line.traces.tolist(), probabilities, strict=True):
            put(files["first"], row.tobytes(), trace * size)
        return 0

    def _store_last(self, files: dict[str, int], line: Line, probabilities: np.ndarray, ensemble: Ensemble) -> int:
        """Write a line's traces, the mean over both directions if there are two; returns how many samples are salt."""
        survey = self.walk.survey
        if self.first:
            size = survey.samples * 4
            rows = (os.pread(files["first"], size, trace * size) for trace in line.traces.tolist())
            before = np.frombuffer(b"".join(rows), np.float32).reshape(probabilities.shape)
            probabilities = (before + probabilities) * np.float32(0.5)
        mask = self.walk.mask(line, probabilities, ensemble)
        for ending, values in (("_salt.sgy", probabilities), ("_mask.sgy", mask)):
            if ending in self.formats:
                survey.write(files[ending], line.traces, values, self.formats[ending])
        return int(mask.sum())

    def counts(self) -> dict[str, int]:
        """How many samples are salt, how many mean nothing, and how many traces are dead, of all that is done."""
        records = self.done(self.walk.directions[-1]).values()
        return {name: sum(record[name] for record in records) for name in ("salt", "nothing", "dead")}

    def finish(self, stem: Path, ensemble: Ensemble, *, array: bool) -> list[str]:
        """Give the files their names, with a picture and, if wanted, an .npy beside them; returns what they end in."""
        salt = Survey(self.paths["_salt.sgy"], **self.walk.survey.bytes)
        made = self.paths | {"_lines.png": self.folder / "lines.png"}
        made["_lines.png"].write_bytes(encode_png(_picture(self.walk, salt, ensemble)))
        if array:
            made["_probabilities.npy"] = self.folder / "probabilities.npy"
            _write_array(made["_probabilities.npy"], salt)
        for ending, path in made.items():
            with replacing(f"{stem}{ending}", exclusive=True) as temporary:
                os.rename(path, temporary)
        shutil.rmtree(self.folder)
        return list(made)


def predict_survey(
    walk: Walk, ensemble: Ensemble, folder: Path, ring, stack: ExitStack, *, key: dict, mask: bool
) -> Unfinished:
    """Predict all lines that an earlier run of the same `key` has not, each rank its share; returns what is to finish.

    `stack` holds the hidden folder in `folder`, where it is written, for this run alone.
    """
    name = digest(json.dumps(key, sort_keys=True))[:16]
    unfinished = Unfinished(folder / f".unfinished_{name}", walk, mask=mask)
    ring.on_chief(lambda: stack.enter_context(held(unfinished.folder)))
    ring.on_chief(lambda: unfinished.begin(f"BY {ensemble.name}, {'+'.join(walk.directions)}S"))
    for direction, lines in walk.lines.items():
        done = set(ring.on_chief(lambda direction=direction: sorted(unfinished.done(direction))))
        if done:
            ring.print(f"going on after {len(done)} of {len(lines)} {direction}s")
        share = [k for k in range(len(lines)) if k not in done][ring.rank :: ring.size]
        with bar(f"{walk.survey.path.name}, {direction}s", len(share), "line") as shown:
            unfinished.work(direction, share, ensemble, ring.rank, shown.update)
        ring.on_all(lambda: None)  # the next direction reads what all ranks have written
    return unfinished


def _picture(walk: Walk, salt: Survey, ensemble: Ensemble) -> np.ndarray:
    """A few lines one below the other, their salt outlined: BGR uint8."""
    direction = walk.directions[0]
    lines, shown = walk.lines[direction], []
    for k in np.unique(np.linspace(0, len(lines) - 1, SHOWN + 2).round().astype(int)[1:-1]):
        mask = np.zeros((walk.survey.samples, lines[k].width), np.uint8)
        mask[:, lines[k].columns] = walk.mask(lines[k], salt.read(lines[k].traces), ensemble).T
        title = np.zeros((24, lines[k].width, 3), np.uint8)
        cv2.putText(title, lines[k].name, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        shown += [title, outline(walk.section(lines[k])[0], mask)]
    width = max(part.shape[1] for part in shown)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0))) for part in shown])


def _write_array(path: Path, salt: Survey) -> None:
    """Write float16 (inlines, crosslines, samples), 0 where there is no trace; of a single line (traces, samples)."""
    lines = salt.lines("inline")
    width = len(salt.crosslines) or salt.traces
    with writing_array(path, (*([len(lines)] if salt.is_volume else []), width, salt.samples)) as write:
        for line in lines:
            plane = np.zeros((width, salt.samples), np.float16)
            plane[line.first + line.columns] = salt.read(line.traces)
            write(plane)
