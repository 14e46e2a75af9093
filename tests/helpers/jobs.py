"""Trainings in processes of their own, to be struck while they run."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from models.weights import load_model, load_recipe
from tests.helpers.commands import ROOT
from tests.helpers.machine import processor_time
from tests.helpers.rings import ENVIRONMENT, MPIRUN
from tests.helpers.training import TINY, same

FLAGS = (*TINY, "--data_path=folds/fold_0", "--warmup_epochs=1")
EPOCH = re.compile(r"epoch (\d+)/\d+: .*images/s")
INTERRUPTED = "interrupted; nothing is half-written, the same command goes on\n"


class Job:
    """A training in processes of its own: a single one, or mpirun with two ranks."""

    def __init__(self, cwd: Path, *flags: str, ring: bool = False, dies: tuple = (), launcher: bool = False):
        mark = uuid.uuid4().hex
        self._mark = f"TGS_JOB={mark}".encode()
        program = ["-m", "tests.helpers.dies", *map(str, dies)] if dies else [str(ROOT / "tgs_train.py")]
        line = [*(MPIRUN.format(n=2).split() if ring else []), sys.executable, *program, f"--hvd={ring}"]
        if launcher:
            line = [str(ROOT / "train_multi_gpu_ring.sh"), "2"]
        # A shell's background jobs ignore Ctrl-C, and what they start inherits that.
        self._main = subprocess.Popen(
            ["env", "--default-signal=INT", *line, *FLAGS, *flags],
            cwd=cwd,
            env=ENVIRONMENT | {"PYTHON": sys.executable, "TGS_JOB": mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def epochs(self) -> Iterator[int]:
        """The number of each epoch, as it ends."""
        for line in self.lines():
            if found := EPOCH.search(line):
                yield int(found[1])

    def lines(self) -> Iterator[str]:
        """What is said on stdout, line by line."""
        yield from self._main.stdout

    def processes(self) -> list[int]:
        """All of this job that runs."""
        # The first one is not known by its environment alone: while it turns from `env` into Python it has none.
        found = {self._main.pid} if self._main.poll() is None else set()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._mark in (folder / "environ").read_bytes():
                    found.add(int(folder.name))
        return sorted(found)

    def rank(self, number: int) -> int | None:
        """The process of a rank, once it runs."""
        for process in self.processes():
            with contextlib.suppress(OSError):
                environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
                if b"OMPI_COMM_WORLD_RANK=%d" % number in environment:
                    return process
        return None

    def computed(self) -> float:
        """Seconds of processor time that all of this job that runs has taken."""
        return sum(map(processor_time, self.processes()))

    def until_computed(self, seconds: float) -> None:
        """Wait until the job has taken so much processor time, or is over: no busy machine shifts that."""
        while self.processes() and self.computed() < seconds:
            time.sleep(0.005)

    def until_loaded(self, library: str, processes: int = 1) -> None:
        """Wait until so many processes have mapped a file with this in its path, or the job is over."""

        def has_loaded(process: int) -> bool:
            with contextlib.suppress(OSError):
                return library in Path(f"/proc/{process}/maps").read_text()
            return False

        while (running := self.processes()) and sum(map(has_loaded, running)) < processes:
            time.sleep(0.01)

    def send(self, signum: int) -> None:
        """Send a signal to the main process: in a ring, mpirun."""
        self._main.send_signal(signum)

    def kill(self) -> None:
        """End everything at once, as a power cut would."""
        while running := self.processes():
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def end(self, timeout: float = 600) -> tuple[int, str]:
        """Wait for the end of every process; returns the exit code and what was said on stderr."""
        _, said = self._main.communicate(timeout=timeout)
        while self.processes():
            time.sleep(0.01)
        return self._main.returncode, said


@contextmanager
def job(*args, **kwargs) -> Iterator[Job]:
    """A job that does not outlive its test."""
    started = Job(*args, **kwargs)
    try:
        yield started
    finally:
        started.kill()
        started.end()


def check_files(cwd: Path) -> int:
    """Assert that each file there is whole, and is what its recipe says; returns how many epochs the state holds."""
    weights = cwd / "weights/tiny"
    for file in weights.glob("fold_0_*.weights.h5"):
        model, recipe = load_model(file)
        assert all(np.isfinite(variable.numpy()).all() for variable in model.variables)
        assert recipe.epoch > 0
    history = cwd / "logs/tiny/fold_0/history.csv"
    if history.exists():
        rows = list(csv.DictReader(history.read_text().splitlines()))
        assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
        assert all(None not in row.values() for row in rows)
        assert history.read_text().endswith("\n")
    if (curves := weights / "fold_0_curves.png").exists():
        assert curves.read_bytes().endswith(b"IEND\xaeB`\x82")
    if not (weights / "fold_0_state/state.npz").exists():
        return 0
    progress = state(weights)[0]
    assert progress["epoch"] == len(progress["history"])
    assert load_recipe(weights / "fold_0_last.weights.h5").epoch - progress["epoch"] in (0, 1)
    assert load_recipe(weights / "fold_0_best.weights.h5").score >= progress["best_score"]
    return progress["epoch"]


def state(weights: Path) -> tuple[dict, list[np.ndarray]]:
    """Progress and arrays of the state below a weights folder, whose checksums are right."""
    with np.load(weights / "fold_0_state/state.npz", allow_pickle=False) as file:
        arrays = [file[f"variable_{k}"] for k in range(len(file.files) - 1)]
        return json.loads(file["progress"].tobytes()), arrays


def assert_same_end(whole: Path, struck: Path) -> None:
    """Assert that two trainings left the same bits: weights, history, best score, and the state to resume from."""
    a, b = whole / "weights/tiny", struck / "weights/tiny"
    for pick in ("best", "last"):
        assert same(a / f"fold_0_{pick}.weights.h5", b / f"fold_0_{pick}.weights.h5")
        recipes = [load_recipe(path / f"fold_0_{pick}.weights.h5") for path in (a, b)]
        assert recipes[0].score == recipes[1].score
        assert recipes[0].epoch == recipes[1].epoch
    assert (whole / "logs/tiny/fold_0/history.csv").read_bytes() == (
        struck / "logs/tiny/fold_0/history.csv"
    ).read_bytes()
    (first, firsts), (second, seconds) = state(a), state(b)
    assert all(first[name] == second[name] for name in ("best_score", "best_epoch", "history"))
    assert len(firsts) == len(seconds)
    assert all(np.array_equal(x, y) for x, y in zip(firsts, seconds, strict=True))
    for folder in (b, b / "fold_0_state", struck / "logs/tiny/fold_0"):
        assert not list(folder.glob(".*fold_0*")) + list(folder.glob(".*state*")) + list(folder.glob(".*history*"))


def project(path: Path, workspace: Path) -> Path:
    """Another folder with the same folds."""
    path.mkdir()
    (path / "folds").symlink_to((workspace / "folds").resolve())
    return path


def after_epochs(running: Job, count: int) -> None:
    """Wait until so many epochs have ended."""
    for number, _ in enumerate(running.epochs(), start=1):
        if number == count:
            return
    raise AssertionError(f"ended before: {running.end()}")
