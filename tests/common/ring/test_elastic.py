"""Elastic rings of real processes on this machine: ranks are killed and join while it trains."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from common.locks import take_first_free
from tests.helpers.commands import ROOT
from tests.helpers.machine import slowdown
from tests.helpers.rings import ENVIRONMENT, TINY, member
from tests.helpers.training import arrays

horovodrun = shutil.which("horovodrun", path=ENVIRONMENT["PATH"])
elastic = pytest.mark.skipif(horovodrun is None, reason="no horovodrun; ./install_horovod.sh brings it")
EPOCHS = 150  # of half a second: a process that was killed takes half a minute to come back


class Job:
    """`./train_multi_gpu_ring.sh --elastic` under way, its lines kept as they come."""

    def __init__(self, processes: str, cwd: Path, **environment: str):
        line = [ROOT / "train_multi_gpu_ring.sh", "--elastic", processes, *TINY, "--batch_size=4"]
        env = ENVIRONMENT | {"PYTHON": sys.executable} | environment
        self.errors = cwd / "stderr"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [*map(str, line), f"--epochs={EPOCHS}"], cwd=cwd, env=env, text=True,
                stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
            )  # fmt: skip
        self.lines: list[str] = []

    def until(self, pattern: str) -> re.Match:
        """Read on until a line has the pattern, for ten minutes at most."""
        alarm = threading.Timer(600, self.end)
        alarm.start()
        try:
            return self.read_until(pattern)
        finally:
            alarm.cancel()

    def read_until(self, pattern: str) -> re.Match:
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"ended without '{pattern}': {''.join(self.lines)}{self.errors.read_text()}")

    def epochs(self) -> list[int]:
        """Epochs finished so far, in order of their lines."""
        return [int(found[1]) for line in self.lines if (found := re.search(rf"epoch (\d+)/{EPOCHS}: loss", line))]

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(600)
        self.process.stdout.close()


@elastic
@pytest.mark.slow
def test_killed_ranks_cost_an_epoch_and_come_back(workspace):
    """kill -9 of rank 0, then of rank 1: the other goes on at once, and a new process joins it."""
    job = Job("1:2", workspace)
    try:
        job.until("2 x 4 tiles")
        for rank in (0, 1):
            job.until(rf"epoch \d+/{EPOCHS}: loss")
            last = int(job.until(rf"epoch (\d+)/{EPOCHS}: loss")[1])
            os.kill(member(rank, job.process.pid), signal.SIGKILL)
            struck = time.monotonic()
            resumed = int(job.until(rf"epochs (\d+) to {EPOCHS} of \d+ steps of 1 x 4 tiles")[1])
            assert resumed >= last + 1  # the epochs that were done are not done again
            assert resumed == max(job.epochs()) + 1
            assert time.monotonic() - struck < 60 * slowdown()
            job.until("of 5 steps of 2 x 4 tiles")  # a new process has come
        job.until("best score")
        assert job.process.wait(600) == 0, job.errors.read_text()
    finally:
        job.end()
    assert job.epochs() == list(range(1, EPOCHS + 1))  # none left out, none done twice
    recipe = json.loads((workspace / "weights/tiny/fold_0_last.json").read_text())
    assert (recipe["epoch"], recipe["processes"]) == (EPOCHS, 2)
    assert all(np.isfinite(a).all() for a in arrays(workspace / "weights/tiny/fold_0_last.weights.h5").values())
    assert "Traceback" not in job.errors.read_text()


@elastic
@pytest.mark.slow
def test_a_process_that_comes_later_is_taken_in_at_the_next_epoch(workspace):
    hosts = workspace / "hosts"
    hosts.write_text("127.0.0.1:1\n")
    job = Job("1:2", workspace, HOST_DISCOVERY=f"cat {hosts}", NETWORK_INTERFACES="lo")
    try:
        job.until("1 x 4 tiles")
        job.until(f"epoch 2/{EPOCHS}: loss")
        hosts.write_text("127.0.0.1:1\n127.0.0.01:1\n")
        resumed = int(job.until(rf"epochs (\d+) to {EPOCHS} of 5 steps of 2 x 4 tiles")[1])
        assert resumed == max(job.epochs()) + 1 > 2
        job.until(f"epoch {resumed}/{EPOCHS}: loss")
    finally:
        job.process.send_signal(signal.SIGTERM)
        assert job.process.wait(600) == 143
        job.end()


def test_each_process_takes_another_device():
    program = (
        "import sys; from common.locks import take_first_free\n"
        "print(take_first_free(sys.argv[1], 3), flush=True); sys.stdin.read()"
    )
    env = ENVIRONMENT | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    name = f"tgs-test-{os.getpid()}"
    start = [sys.executable, "-c", program, name]
    with subprocess.Popen(start, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        taken = int(other.stdout.readline())
        mine = take_first_free(name, 3)
        assert {taken, mine} == {0, 1}
        assert take_first_free(name, 2) == 0  # all taken: shared
        other.stdin.close()
        other.wait()
    assert take_first_free(name, 2) == taken  # ends with the process
