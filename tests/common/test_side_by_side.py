"""Parts of a command side by side: how many, on which cores, and how they end."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from common.side_by_side import on_cores, run_side_by_side, share_of_cores
from tests.helpers.commands import refused

CORES = len(os.sched_getaffinity(0))
two_cores = pytest.mark.skipif(CORES < 2, reason="a single core has no shares")


@pytest.mark.parametrize(
    ("cores", "jobs", "expected"),
    [
        (2, 2, ["0", "1", "0", "1", "01"]),  # the last of five is alone, and has both
        (4, 2, ["01", "23", "01", "23", "0123"]),
        (6, 3, ["01", "23", "45", "012", "345"]),
        (5, 2, ["01", "234", "01", "234", "01234"]),
        (4, 4, ["0", "1", "2", "3", "0123"]),
        (8, 8, ["0", "12", "3", "45", "67"]),
        (3, 1, ["012"] * 5),
    ],
)
def test_shares_by_hand(monkeypatch, cores, jobs, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    shares = [share_of_cores(part, 5, jobs) for part in range(5)]
    assert ["".join(map(str, sorted(share))) for share in shares] == expected


def test_cores_are_given_back():
    before = os.sched_getaffinity(0)
    with on_cores({min(before)}):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


# ---- parts, in processes of their own: programs, which need no module to be found in ------------------------

SHARED = """
import os, pathlib, signal, time
from common.errors import InputError

def until(other):
    while other and not (folder / other).exists():
        time.sleep(0.01)

folder = pathlib.Path(folder)
(folder / name).write_text(f"{os.getpid()} {sorted(os.sched_getaffinity(0))}")
"""


def part(folder: Path, name: str, program: str) -> Callable[[], None]:
    """A part that writes down its process and its cores, and goes on with `program`."""
    return partial(exec, SHARED + program, {"folder": str(folder), "name": name})


def noted(folder: Path, name: str) -> tuple[int, str]:
    process, cores = (folder / name).read_text().split(maxsplit=1)
    return int(process), cores


@two_cores
def test_two_at_a_time_on_a_core_each_and_the_last_on_both(tmp_path):
    others = {"a": "b", "b": "a", "c": ""}  # the first two end only when both have begun
    run_side_by_side({name: part(tmp_path, name, f"until('{other}')") for name, other in others.items()}, 2)
    assert len({os.getpid(), *(noted(tmp_path, name)[0] for name in others)}) == 4
    cores, half = sorted(os.sched_getaffinity(0)), CORES // 2
    assert [noted(tmp_path, name)[1] for name in others] == [str(cores[:half]), str(cores[half:]), str(cores)]


@two_cores
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise InputError(f'{name} is wrong; mend it')", "a is wrong; mend it"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "a was ended by SIGKILL, perhaps for want of memory; lower --jobs"),
    ],
)
def test_one_that_fails_ends_all(tmp_path, program, said):
    parts = {"a": f"until('b'); {program}", "b": "until('never')", "c": ""}
    refused(partial(run_side_by_side, {name: part(tmp_path, name, does) for name, does in parts.items()}, 2), said)
    assert not Path(f"/proc/{noted(tmp_path, 'b')[0]}").exists()
    assert not (tmp_path / "c").exists()


@two_cores
def test_a_defect_is_shown_where_it_is(tmp_path, capfd):
    parts = {"a": part(tmp_path, "a", "until('b'); 1 / 0"), "b": part(tmp_path, "b", "until('never')")}
    with pytest.raises(SystemExit) as end:
        run_side_by_side(parts, 2)
    assert end.value.code == 1
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert not Path(f"/proc/{noted(tmp_path, 'b')[0]}").exists()
