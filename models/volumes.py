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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import tensorflow as tf

from common.digests import digest
from common.errors import InputError, refusals
from common.files import replacing
from common.locks import held
from common.progress import bar
from common.ring.base import Ring
from data.png import encode_png
from data.probabilities import writing_array
from data.sections import outline
from data.segy import FLOAT, INT8, Line, Survey, put
from models.ensemble import Ensemble
from models.walk import Walk
from models.weights import versions

SYNC = 5.0  # seconds after which finished lines are made sure of; a killed run repeats what it has done since
SHOWN = 4  # lines in the picture

T = TypeVar("T")


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

    def work(self, direction: str, numbers: list[int], ensemble: Ensemble, ring: Ring, progress) -> None:
        """Predict these lines of a direction and write their traces; `progress` is told after each."""
        lines, last = self.walk.lines[direction], direction == self.walk.directions[-1]
        with self._open() as files, open(self.folder / f"{direction}_{ring.rank}", "a", encoding="utf-8") as journal:
            journal.write("\n")  # after half a line of a run that was killed
            records, since = [], time.monotonic()
            found = _side_by_side(lambda k: self.walk.predict(lines[k], ensemble.predictor), numbers, _at_once(ring))
            try:
                for k, (probabilities, nothing) in zip(numbers, found, strict=True):
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

    def __str__(self) -> str:
        """Size, share of salt and of what means nothing, and windows, in a line."""
        survey, counts = self.walk.survey, self.counts()
        samples = survey.traces * survey.samples
        found = f"{survey.path}: {survey}, {counts['salt'] / samples:.1%} salt, {self.walk.windows} windows"
        if counts["nothing"]:
            fills = "".join(f", the value {fill:g}" for fill in self.walk.stretch.fills)
            found += f", {counts['nothing'] / samples:.2%} means nothing ({counts['dead']} traces{fills})"
        return found + (f", {self.walk.remark}" if self.walk.remark else "")

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


def _side_by_side(function: Callable[[int], T], items: Iterable[int], count: int) -> Iterator[T]:
    """Call `function` for each item, `count` at once, and yield the results in order."""
    pool, running = ThreadPoolExecutor(count), deque()
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) > count:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _at_once(ring: Ring) -> int:
    """How many lines to predict at once: operations of one thread leave this rank's other cores idle."""
    if tf.config.list_physical_devices("GPU") or tf.config.threading.get_intra_op_parallelism_threads() != 1:
        return 1
    return max(1, len(os.sched_getaffinity(0)) // ring.local_size)


def predict_lines(
    walk: Walk, ensemble: Ensemble, folder: Path, ring: Ring, stack: ExitStack, *, shaping: dict, mask: bool
) -> Unfinished:
    """Predict all lines that a run like this one has not yet, each rank its share; returns what is to be finished.

    A run is like this one that has the same survey, weights, code and `shaping` flags. `stack` keeps the hidden folder
    in `folder` for this run alone.
    """
    name = ring.on_chief(lambda: f".unfinished_{_digest(walk, ensemble, shaping, mask)}")
    unfinished = Unfinished(folder / name, walk, mask=mask)
    ring.on_chief(lambda: stack.enter_context(held(unfinished.folder)))
    ring.on_chief(lambda: unfinished.begin(f"BY {ensemble.name}, {'+'.join(walk.directions)}S"))
    for direction, lines in walk.lines.items():
        done = set(ring.on_chief(lambda direction=direction: sorted(unfinished.done(direction))))
        if done:
            ring.print(f"going on after {len(done)} of {len(lines)} {direction}s")
        share = [k for k in range(len(lines)) if k not in done][ring.rank :: ring.size]
        with bar(f"{walk.survey.path.name}, {direction}s", len(share), "line") as shown:
            unfinished.work(direction, share, ensemble, ring, shown.update)
        ring.on_all(lambda: None)  # the next direction reads what all ranks have written
    return unfinished


def _digest(walk: Walk, ensemble: Ensemble, shaping: dict, mask: bool) -> str:
    """Of all that a survey's result depends on."""
    status = walk.survey.path.resolve().stat()
    survey = [str(walk.survey.path.resolve()), status.st_size, status.st_mtime_ns, walk.survey.bytes]
    facts = [survey, ensemble.note, [recipe.sha256 for recipe in ensemble.recipes], shaping, mask, versions()]
    return digest(json.dumps(facts, sort_keys=True))[:16]


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
