"""`tgs_train.py --jobs`: folds side by side, with the bits of a fold alone on such a share, and one end for all."""

import os
import re
import signal

import pytest

import tgs_train
from common.side_by_side import on_cores, share_of_cores
from tests.helpers.commands import error_line, run_here, run_script
from tests.helpers.jobs import INTERRUPTED, Job, job, project
from tests.helpers.training import TINY, same

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a single core has no shares")
JOBS = ("--data_path=folds", "--jobs=2")


@pytest.mark.slow
def test_a_fold_has_the_bits_of_one_alone_on_such_a_share_of_the_cores(trained, workspace, tmp_path_factory):
    """The last of three is alone, and has all cores. How many there are decides how sums are rounded."""
    done = run_script("tgs_train.py", *JOBS, *TINY, "--epochs=2", cwd=workspace)
    assert (done.returncode, done.stderr) == (0, "")
    alone = project(tmp_path_factory.mktemp("alone") / "project", workspace)
    with on_cores(share_of_cores(0, 3, 2)):
        run_script("tgs_train.py", "--data_path=folds/fold_0", *TINY, "--epochs=2", cwd=alone)
    for k, other in ((0, alone), (2, trained)):
        assert same(*(path / f"weights/tiny/fold_{k}_last.weights.h5" for path in (other, workspace)))
    assert re.findall("^next: .*", done.stdout, re.M) == [done.stdout.splitlines()[-1]]
    assert "--oof=True" in done.stdout.splitlines()[-1]
    again = run_script("tgs_train.py", *JOBS, *TINY, "--epochs=2", cwd=workspace)
    assert (again.returncode, again.stdout.count("finished before")) == (0, 3)


def until_all_train(running: Job) -> None:
    """Wait until two folds have ended an epoch."""
    seen = set()
    for line in running.lines():
        if found := re.match(r"(fold_\d) epoch 1/", line):
            seen.add(found[1])
        if len(seen) == 2:
            return
    raise AssertionError(f"ended before: {running.end()}")


@pytest.mark.parametrize(
    ("signum", "code", "said"),
    [
        (signal.SIGTERM, 143, INTERRUPTED),
        pytest.param(signal.SIGINT, 130, INTERRUPTED, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, "", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, -signal.SIGHUP, "", marks=pytest.mark.slow),
    ],
)
def test_no_fold_outlives_the_command(workspace, signum, code, said):
    with job(workspace, *JOBS, "--epochs=100000") as running:
        until_all_train(running)
        running.send(signum)
        allowed = running.computed() + 60  # seconds of processor time; folds that go on take any number
        while running.processes():
            assert running.computed() < allowed
        assert running.end() == (code, said)


@pytest.mark.slow
def test_what_is_wrong_is_said_once(workspace):
    assert "no model 'tinny'" in error_line(run_script("tgs_train.py", *JOBS, *TINY, "--model=tinny", cwd=workspace))


def test_small_epochs_that_leave_none_are_refused_before_anything_starts(workspace):
    flags = (*JOBS, "--model=tiny", "--epochs=2", "--small_epochs=2")
    assert "--small_epochs=2 leave none" in error_line(run_here(tgs_train.main, *flags, cwd=workspace))


def test_not_in_a_ring(workspace):
    said = error_line(run_here(tgs_train.main, *JOBS, *TINY, "--hvd=True", cwd=workspace))
    assert said == "--jobs=2 is not for a ring, whose ranks share the cores already; leave it out"


@pytest.mark.usefixtures("eager")
def test_a_forecast_is_of_folds_side_by_side(workspace):
    before = os.sched_getaffinity(0)
    done = run_here(tgs_train.main, *JOBS, *TINY, "--epochs=2", "--forecast", cwd=workspace)
    assert re.search(r"^about \d+ s of training left .*: 6 epochs of .* at 32 px, 2 folds at once$", done.stdout, re.M)
    assert os.sched_getaffinity(0) == before
    assert not (workspace / "weights").exists()


def test_lists_are_shown_as_ever(workspace):
    shown = [run_here(tgs_train.main, *flags, "--loss=list", cwd=workspace).stdout for flags in (JOBS, ())]
    assert shown[0] == shown[1] != ""
