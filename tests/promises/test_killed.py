"""Struck at any moment, by SIGKILL, SIGTERM or Ctrl-C: files stay whole, the same command ends with the same bits."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tgs_train
from tests.helpers.commands import ROOT, run_here
from tests.helpers.jobs import FLAGS, INTERRUPTED, after_epochs, assert_same_end, check_files, job, project
from tests.helpers.rings import horovod
from tests.helpers.training import TINY, same

# Where a write is struck; the first three in the first epoch ever, which is the best one until then.
WRITES = (
    ("half", "fold_0_best.weights.h5", 1),
    ("after", "fold_0_best.json", 1),
    ("after", "fold_0_best.weights.h5", 1),
    ("half", "state.npz", 2),
    ("before", "fold_0_last.weights.h5", 1),
    ("after", "fold_0_last.weights.h5", 2),
    ("before", "state.npz", 1),
    ("after", "history.csv", 1),
)


# ---- SIGKILL -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(workspace):
    """SIGKILL in a write, then Ctrl-C in the middle of an epoch; twenty moments and more are in the next test."""
    whole = project(workspace / "whole", workspace)
    done = run_here(tgs_train.main, *FLAGS, "--epochs=9", cwd=whole)
    assert done.returncode == 0, done.stderr
    with job(workspace, "--epochs=9", dies=("SIGKILL", "half", "state.npz", 2)) as running:
        assert running.end()[0] == -signal.SIGKILL
    assert list((workspace / "weights/tiny/fold_0_state").glob(".*.state.npz"))
    assert check_files(workspace) == 1
    with job(workspace, "--epochs=9") as running:
        after_epochs(running, 1)
        time.sleep(0.2)
        running.send(signal.SIGINT)
        struck = time.monotonic()
        assert running.end() == (128 + signal.SIGINT, INTERRUPTED)
        assert time.monotonic() - struck < 10
    assert 2 <= check_files(workspace) < 8
    done = run_here(tgs_train.main, *FLAGS, "--epochs=9", cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert_same_end(whole, workspace)


@pytest.mark.slow
@pytest.mark.parametrize("ring", [False, pytest.param(True, marks=[horovod, pytest.mark.long])], ids=["single", "ring"])
def test_killed_at_twenty_moments_it_ends_with_the_same_bits(workspace, ring):
    """Fourteen random moments over start-up, epochs, validation and writes, and chosen ones inside the writes."""
    epochs = "--epochs=28"
    whole = project(workspace / "whole", workspace)
    with job(whole, epochs, ring=ring) as running:
        times = [(seconds, time.monotonic() - running.started) for _, seconds in running.epochs()]
        code, said = running.end()
    assert (code, len(times)) == (0, 28), said
    # At most 10 s, which is a start-up on a quiet machine: this one may be busier now than it is later.
    start_up, usual = min(10.0, times[0][1]), float(np.median([seconds for seconds, _ in times]))

    chance = random.Random(20 + ring)
    others = [*WRITES[3:], *[0] * 7, *[1] * 4, *[2] * 3]  # numbers: epochs to wait for, and then a part of one more
    chance.shuffle(others)
    reached = 0
    for number, moment in enumerate([*WRITES[:3], *others]):
        dies = ("SIGKILL", *moment) if isinstance(moment, tuple) else ()
        with job(workspace, epochs, ring=ring, dies=dies) as running:
            if not dies:
                if moment:
                    after_epochs(running, moment)
                time.sleep(chance.uniform(0, usual if moment else start_up))
                victim = running.rank(number % 2) if ring and number % 3 == 0 else None
                if victim:  # one rank only: mpirun ends the other
                    os.kill(victim, signal.SIGKILL)
                else:
                    running.kill()
            code, said = running.end()
            assert code != 0, f"{moment}: ended before it was struck"
            assert ring or code == -signal.SIGKILL, (moment, said)
        at = check_files(workspace)
        print(f"{number}: {moment}, at epoch {at}, {time.monotonic() - running.started:.1f} s", flush=True)
        assert at >= reached
        reached = at
    assert 8 <= reached < 28  # it came forward, and had life left at every moment
    with job(workspace, epochs, ring=ring) as running:
        resumed = next(running.epochs())[0]
        code, said = running.end()
    assert (code, resumed) == (0, reached + 1), said
    assert_same_end(whole, workspace)


# ---- seeds -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_does_not(workspace, trained):
    """Against the training that all tests share, which ran in a process of its own."""
    for seed, alike in ((1, True), (2, False)):
        flags = (*TINY, "--data_path=folds/fold_0", "--epochs=2", f"--seed={seed}", f"--weights_path={seed}")
        done = run_here(tgs_train.main, *flags, cwd=workspace)
        assert done.returncode == 0, done.stderr
        for pick in ("best", "last"):
            name = f"tiny/fold_0_{pick}.weights.h5"
            assert same(workspace / f"{seed}" / name, trained / "weights" / name) is alike


@pytest.mark.slow
@horovod
def test_the_same_seed_gives_the_same_bits_in_a_ring(workspace):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        with job(workspace, "--epochs=2", f"--seed={seed}", f"--weights_path={name}", ring=True) as running:
            code, said = running.end()
            assert code == 0, said
    a, b, c = (workspace / name / "tiny/fold_0_last.weights.h5" for name in "abc")
    assert same(a, b)
    assert not same(a, c)


# ---- SIGTERM and Ctrl-C ------------------------------------------------------------------------------------


def strike(workspace: Path, signum: int, moment: str, **kwargs) -> tuple[int, str, float]:
    """Start, send a signal while TensorFlow is loaded, in an epoch or in a write; returns code, stderr and seconds."""
    dies = (signal.Signals(signum).name, "half", "fold_0_last.weights.h5", 2) if moment == "write" else ()
    with job(workspace, "--epochs=1000", dies=dies, **kwargs) as running:
        if moment == "imports":
            while not running.has_loaded("tensorflow"):
                time.sleep(0.01)
        elif moment == "start-up":
            time.sleep(2.5)
        else:
            after_epochs(running, 1)
        if not dies:
            time.sleep(0.1)
            running.send(signum)
        struck = time.monotonic()
        code, said = running.end(60)
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
    assert seconds < 10
    if moment == "imports":
        assert not (workspace / "weights").exists()
    else:
        assert check_files(workspace) >= 1
        assert not list((workspace / "weights/tiny").glob(".*"))  # no temporary


@pytest.mark.slow
@horovod
@pytest.mark.parametrize("moment", ["start-up", "epoch"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_saves_and_ends_with_its_own_code(workspace, signum, moment):
    code, said, seconds = strike(workspace, signum, moment, launcher=True)
    print(f"{signal.Signals(signum).name} in {moment} of a ring: {seconds:.1f} s")
    assert code == 128 + signum
    assert said.count("interrupted;") <= 1
    assert "Traceback" not in said
    assert seconds < 10
    assert check_files(workspace) >= (moment == "epoch")


def test_a_signal_that_compiled_code_makes_another_error_of_is_still_one():
    """As Horovod does, in whose allgather it becomes a RuntimeError."""
    body = "try:\n        os.kill(os.getpid(), 15)\n    except KeyboardInterrupt:\n        raise RuntimeError('status')"
    program = f"import os\nfrom common.command import run\ndef main():\n    {body}\nrun(main)\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, INTERRUPTED)
