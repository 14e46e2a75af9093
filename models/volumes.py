"""Salt in a SEG-Y survey: its lines predicted one after another, by one process or shared among the ranks of a ring.

What is written lies in a hidden folder until all of it is there, with notes of the lines that are. A line's result
depends on that line alone, never on who predicts it, or when: any number of ranks, and a run that was stopped and
goes on, leave the same bytes.
"""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from common.digests import digest
from common.errors import refusals
from common.files import replacing
from common.locks import held
from common.progress import bar
from common.ring.base import Ring
from data.png import encode_png
from data.probabilities import writing_array
from data.seismic.sections import outline
from data.seismic.segy import FLOAT, INT8, Copy
from models.ensemble import Ensemble
from models.walk import Walk
from models.weights import versions

SYNC = 5.0  # seconds after which finished lines are made sure of; a killed run repeats what it has done since
SHOWN = 4  # lines in the picture
NOTES = ("done", "salt", "nothing", "dead")  # of a line: whether it is done, how many samples ..., traces are dead


class Unfinished:
    """A folder with the files that a survey's prediction writes, of their final size, and notes of finished lines."""

    def __init__(self, folder: Path, walk: Walk, ensemble: Ensemble, *, mask: bool):
        self.folder, self.walk, self.ensemble = folder, walk, ensemble
        formats = {"salt": FLOAT} | ({"mask": INT8} if mask else {})
        if len(walk.directions) > 1:
            formats["first"] = FLOAT  # probabilities of the first direction
        self.copies = {name: Copy(walk.survey, folder / f"{name}.sgy", format) for name, format in formats.items()}

    def begin(self) -> None:
        """Make the files unless they are there, and take all their space at once. InputError: there is not enough."""
        if (self.folder / "begun").exists():
            return
        kinds = {FLOAT: "SALT PROBABILITY 0 TO 1", INT8: "SALT MASK 0 OR 1"}
        with refusals("write", self.folder.parent, "make room, or choose another --submission_path"):
            try:
                for copy in self.copies.values():
                    copy.create(f"{kinds[copy.format]} BY {self.ensemble.name}, {'+'.join(self.walk.directions)}S")
                for direction, lines in self.walk.lines.items():
                    np.zeros((len(lines), len(NOTES)), "<i8").tofile(self.folder / direction)
                (self.folder / "begun").touch()
            except OSError:
                shutil.rmtree(self.folder)
                raise

    def notes(self, direction: str) -> np.ndarray:
        """Read the notes of a direction's lines: (lines, NOTES)."""
        return np.fromfile(self.folder / direction, "<i8").reshape(-1, len(NOTES))

    def left(self, direction: str) -> list[int]:
        """List the numbers of a direction's lines that are not done."""
        return np.flatnonzero(self.notes(direction)[:, 0] == 0).tolist()

    def work(self, direction: str, numbers: list[int], ring: Ring, progress) -> None:
        """Predict these lines of a direction and write their traces; `progress` is told after each."""
        unsure, since = {}, time.monotonic()
        with refusals("write", self.folder, "the same command goes on"), ThreadPoolExecutor(_at_once(ring)) as pool:
            lines = {pool.submit(self._predict, direction, k): k for k in numbers}
            try:
                for line in as_completed(lines):
                    unsure[lines[line]] = line.result()
                    progress(1)
                    if time.monotonic() - since > SYNC:
                        self._note(direction, unsure)
                        unsure, since = {}, time.monotonic()
            finally:
                pool.shutdown(cancel_futures=True)
                self._note(direction, unsure)

    def _predict(self, direction: str, k: int) -> tuple[int, ...]:
        """Predict a line and write its traces, of two directions the mean; returns its NOTES."""
        line, first = self.walk.lines[direction][k], self.copies.get("first")
        probabilities, nothing = self.walk.predict(line, self.ensemble.predictor)
        if direction != self.walk.directions[-1]:
            first.write(line.traces, probabilities)
            return 1, 0, 0, 0
        if first:
            probabilities = (first.read(line.traces) + probabilities) * np.float32(0.5)
        mask = self.walk.mask(line, probabilities, self.ensemble).T[line.places]
        for name, values in (("salt", probabilities), ("mask", mask)):
            if name in self.copies:
                self.copies[name].write(line.traces, values)
        return 1, int(mask.sum()), int(nothing.sum()), int(nothing.all(axis=1).sum())

    def _note(self, direction: str, notes: dict[int, tuple[int, ...]]) -> None:
        """Write down lines as done, once their traces are on the disk."""
        for copy in self.copies.values():
            copy.flush()
        with open(self.folder / direction, "r+b") as file:
            for k, note in notes.items():
                os.pwrite(file.fileno(), np.array(note, "<i8").tobytes(), k * 8 * len(NOTES))

    def counts(self) -> dict[str, int]:
        """Count the lines that are done, the samples that are salt or mean nothing, and the traces that are dead."""
        return dict(zip(NOTES, self.notes(self.walk.directions[-1]).sum(axis=0).tolist(), strict=True))

    def __str__(self) -> str:
        """Say size, share of salt and of what means nothing, and windows, in a line."""
        survey, counts = self.walk.survey, self.counts()
        samples = survey.traces * survey.samples
        found = f"{survey.path}: {survey}, {counts['salt'] / samples:.1%} salt, {self.walk.windows} windows"
        if counts["nothing"]:
            fills = "".join(f", the value {fill:g}" for fill in self.walk.stretch.fills)
            found += f", {counts['nothing'] / samples:.2%} means nothing ({counts['dead']} traces{fills})"
        return found + (f", {self.walk.remark}" if self.walk.remark else "")

    def finish(self, stem: Path, *, array: bool) -> list[str]:
        """Give the files their names, with a picture and, if wanted, an .npy beside them; returns what they end in."""
        made = {f"_{name}.sgy": self.copies[name].path for name in ("salt", "mask") if name in self.copies}
        made["_lines.png"] = self.folder / "lines.png"
        made["_lines.png"].write_bytes(encode_png(self._picture()))
        if array:
            made["_probabilities.npy"] = self.folder / "probabilities.npy"
            self._write_array(made["_probabilities.npy"])
        for ending, path in made.items():
            with replacing(f"{stem}{ending}", exclusive=True) as temporary:
                os.rename(path, temporary)
        shutil.rmtree(self.folder)
        return list(made)

    def _picture(self) -> np.ndarray:
        """Draw a few lines, side by side if they are taller than wide, their salt outlined: BGR uint8."""
        lines, shown = self.walk.lines[self.walk.directions[0]], []
        width = max(line.width for line in lines)
        for k in np.unique(np.linspace(0, len(lines) - 1, SHOWN + 2).round().astype(int)[1:-1]):
            mask = self.walk.mask(lines[k], self.copies["salt"].read(lines[k].traces), self.ensemble)
            drawn = np.pad(outline(self.walk.section(lines[k])[0], mask), ((24, 0), (0, width - mask.shape[1]), (0, 0)))
            cv2.putText(drawn, lines[k].name, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
            shown.append(drawn)
        return np.concatenate(shown, axis=int(width < self.walk.survey.samples))

    def _write_array(self, path: Path) -> None:
        """Write float16 (inlines, crosslines, samples), 0 where traces are missing; of a line (traces, samples)."""
        survey = self.walk.survey
        lines, width = survey.lines("inline"), len(survey.crosslines) or survey.traces
        with writing_array(path, (*([len(lines)] if survey.is_volume else []), width, survey.samples)) as write:
            for line in lines:
                plane = np.zeros((width, survey.samples), np.float16)
                plane[line.columns] = self.copies["salt"].read(line.traces)
                write(plane)


def _at_once(ring: Ring) -> int:
    """Tell how many lines to predict at once: on a CPU operations have one thread, so each core takes a line."""
    cores = len(os.sched_getaffinity(0)) // ring.local_size
    return 1 if tf.config.list_physical_devices("GPU") else max(1, cores)


def predict_lines(
    walk: Walk, ensemble: Ensemble, folder: Path, ring: Ring, stack: ExitStack, *, flags: dict, mask: bool
) -> Unfinished:
    """Predict all lines that a run like this one has not yet, each rank its share; returns what is to be finished.

    A run is like this one that has the same survey, weights, code and `flags`, those that shape a result. `stack` keeps
    the hidden folder in `folder` for this run alone.
    """
    name = ring.on_chief(_digest, walk, ensemble, flags, mask)
    unfinished = Unfinished(folder / f".unfinished_{name}", walk, ensemble, mask=mask)
    ring.on_chief(stack.enter_context, held(unfinished.folder))
    ring.on_chief(unfinished.begin)
    for direction, lines in walk.lines.items():
        left = ring.on_chief(unfinished.left, direction)
        if len(left) < len(lines):
            ring.print(f"going on after {len(lines) - len(left)} of {len(lines)} {direction}s")
        share = left[ring.rank :: ring.size]
        with bar(f"{walk.survey.path.name}, {direction}s", len(share), "line") as shown:
            unfinished.work(direction, share, ring, shown.update)
        ring.on_all(lambda: None)  # the next direction reads what all ranks have written
    return unfinished


def _digest(walk: Walk, ensemble: Ensemble, flags: dict, mask: bool) -> str:
    """Digest all that a survey's result depends on."""
    path, weights = walk.survey.path.resolve(), [recipe.sha256 for recipe in ensemble.recipes]
    status = path.stat()
    survey = [str(path), status.st_size, status.st_mtime_ns, walk.survey.bytes]
    facts = [survey, ensemble.note, weights, flags, mask, versions()]
    return digest(json.dumps(facts, sort_keys=True))[:16]
