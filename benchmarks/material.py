"""What the host's benchmarks measure on, a project with tiles and folds, and clocks for calls within a process."""

import contextlib
import io
import itertools
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from unittest import mock

import tgs_preprocess
from data.synthetic.tiles import make_sample
from data.tiles import TileSet

GENERATED = 400  # tiles made at most of each kind; the rest are links to them under other names


@dataclass(frozen=True)
class Project:
    """A folder with tgs/ and folds/, and in words whose tiles those are."""

    folder: Path
    source: str


def make_project(folder: Path, labelled: int, unlabelled: int) -> Project:
    """Write so many tiles and split them: the competition's where TGS_DATA names its zips, else generated ones."""
    zips = Path(os.environ.get("TGS_DATA", ""), "train.zip"), Path(os.environ.get("TGS_DATA", ""), "test.zip")
    data = folder / "tgs"
    if os.environ.get("TGS_DATA") and all(path.is_file() for path in zips):
        source = "the competition's tiles"
        _unpack(zips[0], data / "train", labelled)
        _unpack(zips[1], data / "test", unlabelled)
    else:
        source = "generated tiles"
        make_sample(data, n_train=min(labelled, GENERATED), n_test=min(unlabelled, GENERATED))
        for name in ("train.csv", "depths.csv", "sample_submission.csv"):
            (data / name).unlink()  # knows only the tiles made
        _multiply([data / "train/images", data / "train/masks"], labelled)
        _multiply([data / "test/images"], unlabelled)
    project = Project(folder, source)
    within(project, tgs_preprocess.main, "--data_path=tgs")
    return project


def _unpack(source: Path, folder: Path, count: int) -> None:
    """Unpack the first `count` images, and masks where there are any."""
    with zipfile.ZipFile(source) as archive:
        for kind in ("images", "masks"):
            names = sorted(name for name in archive.namelist() if PurePosixPath(name).match(f"{kind}/*.png"))
            archive.extractall(folder, names[:count])


def _multiply(folders: list[Path], count: int) -> None:
    """Link the PNGs of each folder, again and again under new names, until there are `count`."""
    names = sorted(path.name for path in folders[0].glob("*.png"))
    copies = ((k, name) for k in itertools.count(1) for name in names)
    for k, name in itertools.islice(copies, count - len(names)):
        for folder in folders:
            os.link(folder / name, folder / f"{k}{name}")


def part(tiles: TileSet, count: int) -> TileSet:
    """The first `count` tiles."""
    return TileSet(tiles.ids[:count], tiles.images[:count], tiles.masks[:count])


def within(project: Project, main: Callable[[list[str]], object], *flags: str) -> None:
    """Run a script's `main` in this process, inside the project; what it prints is dropped."""
    with contextlib.chdir(project.folder), contextlib.redirect_stdout(io.StringIO()):
        main(list(flags))


# ---- clocks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """When a call began and ended, in seconds of time.perf_counter."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def seconds(job: Callable[[], object], rounds: int) -> list[float]:
    """Seconds that `job` takes, a value a round, after a first call that does not count."""
    calls: list[Call] = []
    job = _timed(job, calls)
    for _ in range(1 + rounds):
        job()
    return [call.seconds for call in calls[1:]]


@contextlib.contextmanager
def clocked(owner: object, name: str) -> Iterator[list[Call]]:
    """The calls of the function `name` of a class or module meanwhile."""
    calls: list[Call] = []
    with mock.patch.object(owner, name, _timed(getattr(owner, name), calls)):
        yield calls


@contextlib.contextmanager
def clocked_networks() -> Iterator[list[Call]]:
    """The calls of the compiled function of every Predictor made meanwhile. On a CPU they return when all is done."""
    from models.predictor import Predictor

    calls: list[Call] = []
    make = Predictor.__init__

    def make_timed(self, *args, **kwargs):
        make(self, *args, **kwargs)
        self._run = _timed(self._run, calls)

    with mock.patch.object(Predictor, "__init__", make_timed):
        yield calls


def _timed(function: Callable, calls: list[Call]) -> Callable:
    def timed(*args, **kwargs):
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            calls.append(Call(start, time.perf_counter()))

    return timed
