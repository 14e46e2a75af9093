"""SIGTERM and Ctrl-C: an end in time, with its own code and one line, and nothing half-written."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.commands import ROOT
from tests.helpers.jobs import INTERRUPTED, after_epochs, check_files, job
from tests.helpers.machine import slowdown
from tests.helpers.rings import horovod


def strike(workspace: Path, signum: int, moment: str, **kwargs) -> tuple[int, str, float]:
    """Start, send a signal while TensorFlow is loaded, in an epoch or in a write; returns code, stderr and seconds."""
    dies = (signal.Signals(signum).name, "half", "fold_0_last.weights.h5", 2) if moment == "write" else ()
    with job(workspace, "--epochs=1000", dies=dies, **kwargs) as running:
        if moment == "imports":
            running.until_loaded("tensorflow", 2 if "launcher" in kwargs else 1)
        else:
            after_epochs(running, 1)
        if not dies:
            running.until_computed(running.computed() + 0.1)
            running.send(signum)
        struck = time.monotonic()
        code, said = running.end()
        return code, said, time.monotonic() - struck


@pytest.mark.parametrize(
    ("signum", "moment"),
    [
        (signal.SIGTERM, "imports"),
        pytest.param(signal.SIGINT, "epoch", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "imports", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "epoch", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "write", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "write", marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_ends_with_its_own_code(workspace, signum, moment):
    code, said, seconds = strike(workspace, signum, moment)
    print(f"{signal.Signals(signum).name} in {moment}: {seconds:.1f} s")
    assert (code, said) == (128 + signum, INTERRUPTED)
    assert seconds < 10 * slowdown()
    if moment == "imports":
        assert not (workspace / "weights").exists()
    else:
        assert check_files(workspace) >= 1
        assert not list((workspace / "weights/tiny").glob(".*"))  # no temporary


@pytest.mark.slow
@horovod
@pytest.mark.parametrize("moment", ["imports", "epoch"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_saves_and_ends_with_its_own_code(workspace, signum, moment):
    code, said, seconds = strike(workspace, signum, moment, launcher=True)
    print(f"{signal.Signals(signum).name} in {moment} of a ring: {seconds:.1f} s")
    assert code == 128 + signum
    assert said.count("interrupted;") <= 1
    assert "Traceback" not in said
    assert seconds < 10 * slowdown()
    assert check_files(workspace) >= (moment == "epoch")


def test_a_signal_that_compiled_code_makes_another_error_of_is_still_one():
    """As Horovod does, in whose allgather it becomes a RuntimeError."""
    body = "try:\n        os.kill(os.getpid(), 15)\n    except KeyboardInterrupt:\n        raise RuntimeError('status')"
    program = f"import os\nfrom common.command import run\ndef main():\n    {body}\nrun(main)\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, INTERRUPTED)
