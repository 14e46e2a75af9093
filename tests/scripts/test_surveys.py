"""Surveys as users predict them: one process, rings of two and three, a rank that is killed; tiles in a ring."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import segyio

import tgs_predict
from tests.helpers.commands import ROOT, run_here, run_script
from tests.helpers.machine import slowdown
from tests.helpers.rings import ENVIRONMENT, MPIRUN, horovod, ring
from tests.helpers.segys import amplitudes, grid, write_segy

SCRIPT = str(ROOT / "tgs_predict.py")
SIDES = (21, 25, 40)  # inlines, crosslines, samples
FLAGS = ("--use_folds", "--model=tiny", "--data_path=survey.sgy", "--tile=20", "--mask")


def linked(path: Path, trained: Path) -> Path:
    """A project with the weights, folds and tiles of another."""
    for name in ("weights", "folds", "tgs"):
        (path / name).symlink_to(trained / name)
    return path


@pytest.fixture
def project(trained, tmp_path) -> Path:
    """Weights, and a survey of which a few traces are missing."""
    linked(tmp_path, trained)
    headers = [header for k, header in enumerate(grid(range(21), range(200, 225))) if k not in (7, 8, 300)]
    noise = np.random.default_rng(0).normal(0, 30, (len(headers), SIDES[2]))
    write_segy(tmp_path / "survey.sgy", headers, amplitudes(len(headers)) + noise, format=1)
    return tmp_path


def written(folder: Path) -> dict[str, bytes]:
    """Contents of the SEG-Y files and of the picture in a folder, by the ends of their names."""
    files = {path.name.rpartition("-")[2].partition("_")[2]: path.read_bytes() for path in folder.glob("survey_*_*")}
    return {name: content for name, content in files.items() if name}  # "": the .yaml, whose flags differ


@horovod
@pytest.mark.slow
@pytest.mark.parametrize("slices", ["inline", "both"])
def test_one_process_and_rings_write_the_same_bytes(project, slices):
    alone = run_script("tgs_predict.py", *FLAGS, f"--slices={slices}", "--submission_path=one", cwd=project)
    assert (alone.returncode, alone.stderr) == (0, "")
    assert re.search(r"^survey.sgy: 21 inlines x 25 crosslines x 40 samples, 522 traces, [\d.]+% salt, ", alone.stdout)
    for size in (2, 3):
        flags = (*FLAGS, f"--slices={slices}", f"--submission_path={size}", "--hvd=True")
        done = ring(size, SCRIPT, *flags, cwd=project)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote ") == 1
        assert written(project / str(size)) == written(project / "one")
    assert set(written(project / "one")) == {"salt.sgy", "mask.sgy", "lines.png"}
    assert not list(project.glob("*/.*"))


def test_a_survey_keeps_its_headers_and_geometry(project):
    done = run_here(tgs_predict.main, *FLAGS, "--submission_path=one", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    (salt,) = (project / "one").glob("*_salt.sgy")
    before, after = (project / "survey.sgy").read_bytes(), salt.read_bytes()
    assert len(before) == len(after)
    size = 240 + 4 * SIDES[2]
    for k in range(522):
        assert before[3600 + k * size :][:240] == after[3600 + k * size :][:240]
    with segyio.open(salt, ignore_geometry=True) as file:
        values = file.trace.raw[:]
        assert b"SALT PROBABILITY 0 TO 1 BY TINY_3_FOLDS_BEST, INLINES" in bytes(file.text[0])
    assert ((values >= 0) & (values <= 1.0001)).all()
    assert values.std() > 0


class Started:
    """A ring of two that predicts, to be struck."""

    def __init__(self, project: Path, *flags: str):
        launch = ["env", "--default-signal=INT", *MPIRUN.format(n=2).split()]
        line = [*launch, sys.executable, SCRIPT, "--hvd=True", *flags]
        self.project = project
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(line, cwd=project, env=ENVIRONMENT, text=True, **pipes)

    def rank(self, number: int) -> int:
        """The process of a rank of this ring."""
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        for child in map(int, children):
            with contextlib.suppress(OSError):
                if b"OMPI_COMM_WORLD_RANK=%d\0" % number in Path(f"/proc/{child}/environ").read_bytes():
                    return child
        raise AssertionError(f"no rank {number} among {children}")

    def wait_for_lines(self) -> None:
        """Until both ranks have noted a line as done."""
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            for notes in self.project.glob("submission/.unfinished_*/inline"):
                done = np.flatnonzero(np.fromfile(notes, "<i8").reshape(-1, 4)[:, 0])
                if set(done % 2) == {0, 1}:
                    return
            time.sleep(0.05)
        raise AssertionError(self.process.communicate())


LONG = (*FLAGS, "--overlap=0.9")  # some seconds more than notes are apart


@pytest.fixture(scope="module")
def long(once, trained) -> Path:
    """A survey of 300 lines, and in submission/ what one process that nobody strikes makes of it."""

    def predict(path: Path) -> None:
        headers = grid(range(300), range(25))
        noise = np.random.default_rng(1).normal(0, 30, (len(headers), SIDES[2]))
        write_segy(path / "survey.sgy", headers, amplitudes(len(headers)) + noise)
        done = run_script("tgs_predict.py", *LONG, cwd=linked(path, trained))
        assert done.returncode == 0, done.stderr
        assert "going on" not in done.stdout

    return once("long_survey", predict)


@horovod
@pytest.mark.slow
@pytest.mark.parametrize(("victim", "signum"), [(1, signal.SIGKILL), (0, signal.SIGKILL), (None, signal.SIGTERM)])
def test_a_ring_that_was_killed_goes_on_to_the_same_bytes(trained, long, tmp_path, victim, signum):
    project = linked(tmp_path, trained)
    (project / "survey.sgy").symlink_to(long / "survey.sgy")
    started = Started(project, *LONG)
    started.wait_for_lines()
    os.kill(started.process.pid if victim is None else started.rank(victim), signum)
    struck = time.monotonic()
    _, said = started.process.communicate(timeout=600)
    assert time.monotonic() - struck < 60 * slowdown()
    assert started.process.returncode != 0
    assert "Traceback" not in said
    assert [path.name[:12] for path in (project / "submission").iterdir()] == [".unfinished_"]
    again = run_script("tgs_predict.py", *LONG, cwd=project)
    assert again.returncode == 0, again.stderr
    assert re.search(r"^going on after [1-9]\d* of 300 inlines\n", again.stdout)
    assert written(project / "submission") == written(long / "submission")


@horovod
@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "table"),
    [
        (("--use_folds", "--data_path=tgs", "--threshold=0.3"), "submission_{}/submission_*.csv"),
        (("--oof",), "weights_{}/tiny/oof_best.csv"),
    ],
)
def test_tiles_and_the_evaluation_of_a_ring_are_those_of_one_process(project, trained, flags, table):
    found = []
    for size in (1, 2, 3):
        shutil.copytree(trained / "weights", project / f"weights_{size}", ignore=shutil.ignore_patterns("*_state"))
        places = (f"--submission_path=submission_{size}", f"--weights_path=weights_{size}")
        line = (*flags, *places, "--model=tiny", "--batch_size=5")
        if size == 1:
            done = run_script("tgs_predict.py", *line, cwd=project)
        else:
            done = ring(size, SCRIPT, "--hvd=True", *line, cwd=project)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("next: ") == 1
        (path,) = project.glob(table.format(size))
        found.append(path.read_bytes())
    assert found[1] == found[0]
    assert found[2] == found[0]


@horovod
@pytest.mark.slow
def test_wrong_input_of_a_ring_is_one_line(project):
    (project / "survey.sgy").write_bytes((project / "survey.sgy").read_bytes()[:-7])
    done = ring(2, SCRIPT, "--hvd=True", *FLAGS, cwd=project)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        "error: survey.sgy is truncated, or its headers say another length than it has: 393 bytes are left after 521 "
        "traces of 40 samples (bytes 3221 and 3222); get the file again"
    ]
    assert "Traceback" not in done.stderr
    assert not (project / "submission").exists()
