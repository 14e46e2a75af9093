"""The ring's benchmark: its arithmetic by hand, and all of it at a size of seconds under real mpirun."""

import os
import time

import pytest

from benchmarks import folds, ring
from benchmarks.ring import Party, one_rows, two_rows
from tests.helpers.rings import horovod


def test_a_ring_of_one_by_hand():
    *speeds, ratio = one_rows([10.0, 20.0, 40.0], [9.0, 20.0, 44.0], "how")
    assert [row.values for row in speeds] == [[10.0, 20.0, 40.0], [9.0, 20.0, 44.0]]
    assert ratio.values == pytest.approx([0.9, 1.0, 1.1])
    assert (ratio.target, ratio.at_least, ratio.reached) == (0.97, True, True)
    assert not one_rows([10.0], [9.0], "how")[-1].reached


def test_a_ring_of_two_by_hand():
    """Cores that do 10 + 10 alone and 9 + 9 at once, and in a ring 9 + 9 - 1.8."""
    answers = [{"speed": 16.2, "exchange": 0.05, "waiting": 0.002}]
    rows = two_rows(alone=[20.0], at_once=[18.0], ring=answers, others=[0.25], note="how")
    assert [(row.median, row.unit) for row in rows] == [
        (20.0, "images/s"),
        (18.0, "images/s"),
        (16.2, "images/s"),
        (pytest.approx(0.81), "x"),
        (pytest.approx(0.9), "x"),
        (pytest.approx(0.9), "x"),
        (pytest.approx(50.0), "ms"),
        (pytest.approx(2.0), "ms"),
        (0.25, "cores"),
    ]
    assert [row.target for row in rows] == [None, None, None, 0.92, None, None, None, None, None]
    assert rows[3].reached is False


@pytest.mark.parametrize("missing", ["horovod", "mpirun"])
def test_without_horovod_there_are_no_rows(monkeypatch, capsys, missing):
    monkeypatch.setattr(ring, "find_spec", lambda name: None if missing == "horovod" else "there")
    monkeypatch.setattr(ring.shutil, "which", lambda name, path: None if missing == "mpirun" else "there")
    assert ring.rows(2, tiny=True) == []
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "./install_horovod.sh" in said


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@horovod
@pytest.mark.slow
def test_ranks_have_a_core_each_and_are_stopped_while_they_wait():
    cores = (sorted(os.sched_getaffinity(0)) * 2)[:2]
    with Party(2, cores=cores, model="tiny", size=32, batch=2) as party:
        answer = party.train(3)
        pids = answer["pids"]
        assert len(set(pids)) == 2
        assert [os.sched_getaffinity(pid) for pid in pids] == [{core} for core in cores]
        while [state(pid) for pid in pids] != ["T", "T"]:  # for ever, unless they are stopped; each in its own time
            time.sleep(0.01)
        before = party.busy_seconds
        assert before > 1  # TensorFlow loaded, twice
        assert answer["speed"] > 0
        assert 0 < answer["exchange"] < 2 * 2 / answer["speed"]  # a part of the step
        assert answer["waiting"] >= 0
        assert party.busy_seconds == before
    assert party.process.returncode == 0


@horovod
@pytest.mark.slow
def test_all_rows(capsys):
    rows = ring.rows(2, tiny=True)
    assert all(len(row.values) == 2 for row in rows)
    assert all(min(row.values) > 0 for row in rows if row.unit in {"images/s", "x"})
    assert [row.target for row in rows if row.target] == ([0.97, 0.92] if len(os.sched_getaffinity(0)) > 1 else [0.97])
    assert "round 2/2" in capsys.readouterr().out


@pytest.mark.slow
def test_a_process_without_a_ring_exchanges_nothing():
    with Party(model="tiny", size=32, batch=2) as party:
        answer = party.train(2)
    assert answer["exchange"] < 0.001
    assert answer["waiting"] == 0


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a single core has no shares")
def test_folds_side_by_side_are_measured():
    one, two, ratio = folds.rows(1, tiny=True)
    assert min(one.values + two.values) > 0
    assert ratio.values == [two.values[0] / one.values[0]]


def test_a_single_core_has_no_folds_side_by_side(monkeypatch, capsys):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3})
    assert folds.rows(1, tiny=True) == []
    assert capsys.readouterr().out == "folds: left out, a single core has no shares\n"
