"""A ring ends with its launcher, whatever ends that: no rank, and nothing that started one, is left behind."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import ROOT
from tests.helpers.rings import ENVIRONMENT, horovod
from tests.helpers.shell import program

RING = ROOT / "train_multi_gpu_ring.sh"
BIN = Path(sys.executable).parent
LIMIT = 300  # seconds that a busy machine may take; what goes well takes one or two
# What ends a program that does not care: a terminal, keys, kill, batch systems, and what no program can keep off.
ENDING = ("HUP", "QUIT", "TERM", "USR1", "KILL")
ENDING_TOO = ("INT", "USR2", "ALRM", "XCPU", "PIPE", "SEGV")


class Launched:
    """A launcher whose ranks sleep, under a mark in the environment by which all that it starts is found."""

    def __init__(self, folder: Path, *line: object, **environment: str):
        self.mark = f"RING_UNDER_TEST={folder}"
        python = program(
            folder / "python", f'[ "$1" = -c ] && echo "{BIN}" && exit\ntouch "{folder}/up.$$"\nexec sleep 600'
        )
        name, value = self.mark.split("=", 1)
        self.environment = ENVIRONMENT | {"PYTHON": str(python), name: value} | environment
        self.line, self.folder = [*map(str, line)] or [str(RING), "2"], folder

    def start(self) -> int:
        """Start it as the leader of a session without a terminal, until both ranks are up; returns its number."""
        self.process = subprocess.Popen(
            self.line, env=self.environment, cwd=self.folder, start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.until(lambda: len(list(self.folder.glob("up.*"))) == 2)
        return self.process.pid

    def start_on_a_terminal(self) -> tuple[int, int]:
        """Start it as the first program on a terminal; returns its number and the terminal's other end."""
        number, terminal = pty.fork()
        if not number:
            os.chdir(self.folder)
            os.execvpe(self.line[0], self.line, self.environment)
        self.until(lambda: len(list(self.folder.glob("up.*"))) == 2)
        return number, terminal

    def running(self) -> list[int]:
        """Find all that the launcher has started, itself included."""
        found = []
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
                dead = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if self.mark.encode() in environment and not dead:
                found.append(int(process))
        return found

    def until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT
        while not is_so():
            assert time.monotonic() < end, self.running()
            time.sleep(0.05)

    def kill(self) -> None:
        for process in self.running():
            os.kill(process, signal.SIGKILL)


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    started: list[Launched] = []

    def make(*line: object, **environment: str) -> Launched:
        started.append(Launched(tmp_path, *line, **environment))
        return started[-1]

    yield make
    for one in started:
        one.kill()


@horovod
@pytest.mark.parametrize(
    ("name", "to_all"),
    [
        *((name, False) for name in ENDING),
        ("HUP", True),
        *(pytest.param(name, to_all, marks=pytest.mark.slow) for name in ENDING_TOO for to_all in (False, True)),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in ENDING[1:]),
    ],
)
def test_a_signal_to_the_launcher_ends_the_ring(launched, name, to_all):
    """To the launcher alone, as by `kill`; and to its process group, as by a terminal and its keys."""
    ring = launched()
    number, signum = ring.start(), signal.Signals[f"SIG{name}"]
    (os.killpg if to_all else os.kill)(number, signum)
    code = ring.process.wait(LIMIT)
    assert code in (128 + signum, -signum)
    ring.until(lambda: not ring.running())


@horovod
@pytest.mark.slow
@pytest.mark.parametrize("name", ["HUP", "TERM", "KILL"])
def test_a_signal_ends_an_elastic_ring(launched, name):
    ring = launched(RING, "--elastic", "2:2")
    os.kill(ring.start(), signal.Signals[f"SIG{name}"])
    ring.process.wait(LIMIT)
    ring.until(lambda: not ring.running())


@horovod
def test_a_signal_ends_a_ring_of_slurms(launched, tmp_path):
    """Slurm's batch shell becomes the launcher."""
    slurm = {"SLURM_JOB_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS_PER_NODE": "2"}
    ring = launched("bash", ROOT / "train_ring.sbatch", **slurm, TGS_HOME=str(ROOT))
    os.kill(ring.start(), signal.SIGHUP)
    assert ring.process.wait(LIMIT) == 128 + signal.SIGHUP
    ring.until(lambda: not ring.running())


@horovod
@pytest.mark.parametrize("shell", [(), ("bash", "-c", f"{RING} 2; true"), ("bash", "-ic", f"{RING} 2")])
def test_a_terminal_that_closes_ends_the_ring(launched, shell):
    """As its first program, below a shell, and as a job of a shell for people: the connection of an ssh that drops."""
    ring = launched(*shell)
    number, terminal = ring.start_on_a_terminal()
    os.close(terminal)
    os.waitpid(number, 0)
    ring.until(lambda: not ring.running())


@horovod
def test_nohup_lets_the_ring_outlive_its_terminal(launched, tmp_path):
    ring = launched("nohup", RING, "2")
    number, terminal = ring.start_on_a_terminal()
    before = set(ring.running())
    os.close(terminal)
    os.kill(number, signal.SIGHUP)
    time.sleep(2)  # twice what a signal that counts takes
    assert set(ring.running()) == before
    os.kill(number, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 128 + signal.SIGTERM
    ring.until(lambda: not ring.running())
