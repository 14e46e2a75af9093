"""Killed at any moment: files stay whole, the same command ends with the same bits, which the seed decides."""

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest

import tgs_train
from tests.helpers.commands import run_here
from tests.helpers.jobs import INTERRUPTED, after_epochs, assert_same_end, check_files, job, project
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
@pytest.mark.parametrize("ring", [False, pytest.param(True, marks=[horovod, pytest.mark.long])], ids=["single", "ring"])
def test_killed_at_twenty_moments_it_ends_with_the_same_bits(workspace, ring):
    """Fourteen random moments over start-up, epochs, validation and writes, chosen ones inside the writes; Ctrl-C."""
    epochs = "--epochs=28"
    whole = project(workspace / "whole", workspace)
    with job(whole, epochs, ring=ring) as running:
        computed = [running.computed() for _ in running.epochs()]
        code, said = running.end()
    assert (code, len(computed)) == (0, 28), said
    parts = {"start-up": computed[0], "epoch": float(np.median(np.diff(computed[:-1])))}

    chance = random.Random(20 + ring)
    others = [*WRITES[3:], *[0] * 7, *[1] * 4, *[2] * 3]  # numbers: epochs to wait for, and then a part of one more
    chance.shuffle(others)
    reached = 0
    for number, moment in enumerate([*WRITES[:3], *others]):
        part = chance.uniform(0, parts["start-up" if moment == 0 else "epoch"])
        kill(workspace, epochs, moment, part, ring=ring, rank=number % 2 if ring and number % 3 == 0 else None)
        if moment == ("half", "state.npz", 2):
            assert list((workspace / "weights/tiny/fold_0_state").glob(".*.state.npz"))  # it was struck in the write
        at = check_files(workspace)
        print(f"{number}: {moment}, at epoch {at}", flush=True)
        assert at >= reached
        reached = at
    with job(workspace, epochs, ring=ring) as running:
        after_epochs(running, 1)
        running.until_computed(running.computed() + 0.2)
        running.send(signal.SIGINT)
        code, said = running.end()
    assert code == 128 + signal.SIGINT
    assert ring or said == INTERRUPTED
    before, reached = reached, check_files(workspace)
    assert reached > before
    assert 8 <= reached < 28  # it came forward, and had life left at every moment
    with job(workspace, epochs, ring=ring) as running:
        resumed = next(running.epochs())
        code, said = running.end()
    assert (code, resumed) == (0, reached + 1), said
    assert_same_end(whole, workspace)


def kill(workspace: Path, epochs: str, moment: tuple | int, part: float, *, ring: bool, rank: int | None) -> None:
    """Start the training and kill it in a write, or `part` seconds of processor time after so many epochs.

    With `rank` that process of the ring alone, if it runs by then: mpirun ends the other.
    """
    dies = ("SIGKILL", *moment) if isinstance(moment, tuple) else ()
    with job(workspace, epochs, ring=ring, dies=dies) as running:
        if not dies:
            if moment:
                after_epochs(running, moment)
            running.until_computed(part + (running.computed() if moment else 0))
            victim = None if rank is None else running.rank(rank)
            if victim:
                os.kill(victim, signal.SIGKILL)
            else:
                running.kill()
        code, said = running.end()
    assert code != 0, f"{moment}: ended before it was struck"
    assert ring or code == -signal.SIGKILL, (moment, said)


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
