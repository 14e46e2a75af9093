"""The benchmark itself: its arithmetic, its workers, its command; what it measures is nobody's test."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import contest, machine, table
from benchmarks.contest import Cell, Contender, Worker, WorkerError
from benchmarks.run import command, list_parts, main, parser
from benchmarks.table import Row, number, ratio
from common.errors import InputError
from tests.helpers.commands import ROOT, error_line, refused, run_here

PEER = ROOT / contest.PEER
needs_peer = pytest.mark.skipif(not PEER.is_file(), reason="no benchmarks/.venv: `make bench` installs the peer")

# A program that serves two jobs with no library but the standard one; a step takes `pace` seconds by its own account.
SLEEPER = """
from benchmarks.worker import serve
def job(*, pace=1.0, **settings):
    print("what a library prints")
    return lambda steps: pace * steps
def refuse(**settings):
    raise MemoryError("too large")
serve({"train": job, "infer": job, "refuse": refuse}, lambda: {"device": "CPU"})
"""


# ---- rows ----------------------------------------------------------------------------------------------------------
def test_a_row_reaches_its_target_by_its_median():
    assert Row("a", "s", [1, 9, 2]).median == 2
    assert Row("a", "s", [1, 9, 2]).reached is None
    assert [Row("a", "s", [1, 9, 2], target).reached for target in (1.9, 2, 2.1)] == [False, True, True]
    assert [Row("a", "s", [1, 9, 2], t, at_least=True).reached for t in (1.9, 2, 2.1)] == [True, True, False]


def test_a_ratio_is_taken_round_by_round():
    row = ratio("ours / peer", Row("ours", "images/s", [10, 30, 8]), Row("peer", "images/s", [5, 10, 8]), target=2)
    assert list(row.values) == [2, 3, 1]
    assert (row.median, row.unit, row.reached, row.note) == (2, "x", True, "ours / peer")
    with pytest.raises(ValueError, match="zip"):
        ratio("ours / peer", Row("ours", "s", [1, 2]), Row("peer", "s", [1]))


def test_numbers_have_three_digits_and_no_exponent():
    written = {0.012345: "0.0123", 1.3: "1.3", 12.345: "12.3", 99.96: "100", 123.4: "123", 1234567: "1,234,567"}
    assert {value: number(value) for value in written} == written


def test_the_table_names_what_is_missed():
    lines = table.text([Row("a", "x", [1.25, 1], 1.3, at_least=True, note="how"), Row("b", "s", [3], 4)]).splitlines()
    assert lines[2] == "| a | 1.12 x | 1 to 1.25 | ≥ 1.3 x | **no** | how |"
    assert lines[3] == "| b | 3 s | 3 to 3 | ≤ 4 s | yes |  |"


def test_rows_are_written_with_facts_and_medians(tmp_path):
    table.write(tmp_path / "r.json", [Row("a", "s", [3, 1], 2)], {"cpu": "some"})
    row = {"what": "a", "unit": "s", "values": [3, 1], "target": 2, "at_least": False, "note": "", "median": 2}
    assert json.loads((tmp_path / "r.json").read_text()) == {"cpu": "some", "rows": [row | {"reached": True}]}


# ---- workers -------------------------------------------------------------------------------------------------------
@pytest.fixture
def sleeper(tmp_path: Path):
    """An interpreter whose `-m anything` is the program above."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {tmp_path}/sleeper.py\n")
    python.chmod(0o755)
    return python


def test_a_worker_answers_and_survives_what_it_refuses(sleeper):
    with Worker(sleeper, "any") as worker:
        assert worker.ask("facts") == {"device": "CPU"}
        assert worker.ask("start", name="a", job="train", pace=0.5)["seconds"] < 5  # by the real clock
        with pytest.raises(WorkerError, match="MemoryError: too large"):
            worker.ask("start", name="b", job="refuse")
        with pytest.raises(WorkerError, match="KeyError"):
            worker.ask("run", name="b", steps=1)
        assert worker.ask("run", name="a", steps=4) == {"seconds": 2.0}
        process = worker.process
    assert process.returncode == 0  # it ended with its input


def test_a_worker_that_dies_says_its_last_line():
    with (
        pytest.raises(WorkerError, match="No module named benchmarks"),
        Worker(sys.executable, "benchmarks.nothing") as worker,
    ):
        worker.ask("facts")


def test_a_block_is_long_enough_and_speeds_are_images_a_second(sleeper):
    with Worker(sleeper, "any") as worker:
        for pace, steps in ((0.05, 10), (60.0, contest.STEPS)):
            contender = Contender("a", worker, Cell("train", "float32", batch=16, block=0.5), {"pace": pace})
            assert contender.steps == steps
            contender.round()
            assert contender.speeds == [pytest.approx(16 / pace)]


def test_the_ratio_is_to_the_fastest_peer(sleeper):
    cell = Cell("train", "float32", batch=16, ratio=2)
    with Worker(sleeper, "any") as worker:
        paces = {"ours": 1.0, "peer slow": 4.0, "peer fast": 3.0, "peer fast, same work": 5.0}
        contenders = [Contender(name, worker, cell, {"pace": pace}) for name, pace in paces.items()]
        for contender in contenders * 2:
            contender.round()
    *speeds, found, alike, first, others = contest.table(cell, contenders, [0.5, 0.1])
    assert [row.median for row in speeds] == pytest.approx([16, 4, 16 / 3, 16 / 5])
    assert list(found.values) == pytest.approx([3, 3])
    assert (found.reached, found.note) == (True, "peer fast")
    assert list(alike.values) == pytest.approx([5, 5])
    assert (alike.reached, alike.note) == (None, "peer fast, same work")
    assert (first.unit, others.unit, others.values) == ("s", "cores", [0.5, 0.1])


def test_of_the_best_precision_each_side_counts_its_faster_one(sleeper):
    cell = Cell("train", "best", batch=16, ratio=2, model="efficientnet_lite0", size=64)
    with Worker(sleeper, "any") as worker:
        paces = {"ours float32": 2.0, "ours bfloat16": 1.0, "peer float32 a": 3.0, "peer bfloat16 a": 4.0}
        contenders = [Contender(name, worker, cell, {"pace": pace}) for name, pace in paces.items()]
        for contender in contenders:
            contender.round()
    *_, found, _first, _others = contest.table(cell, contenders, [0.0])
    assert list(found.values) == pytest.approx([3])
    assert (found.what, found.note) == (
        "efficientnet_lite0, 64 px, train, best, batch 16: ours / fastest peer",
        "ours bfloat16 / peer float32 a",
    )
    assert str(cell) == "train-best-16-efficientnet_lite0-64"
    assert str(Cell("train", "float32", 16)) == "train-float32-16"


def test_what_others_take_of_the_processor(sleeper):
    with Worker(sleeper, "any") as worker:
        worker.ask("start", name="a", job="train", pace=1)
        before, mine = contest.others_seconds([worker]), worker.busy_seconds
        worker.ask("run", name="a", steps=1)
        began = time.process_time()
        while time.process_time() < began + 0.5:  # this process is another one
            pass
        assert contest.others_seconds([worker]) - before > 0.3
        assert worker.busy_seconds - mine < 0.1
    assert machine.busy_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.1)


def test_all_start_at_once_each_configuration_in_a_process_of_its_own(sleeper, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(sys, "executable", str(sleeper))
    monkeypatch.setattr(contest, "Worker", lambda *a: made.append(Worker(*a)) or made[-1])
    cells = Cell("train", "best", batch=16), Cell("infer", "float32", batch=64)
    rows = list(contest.compare_at_once(cells, rounds=2, peer=sleeper, compile=False, tiny=False))
    train = ["ours float32", "ours bfloat16"]
    train += [
        f"peer {p} {way}{work}" for p in contest.PRECISIONS for way in contest.EAGER for work in ("", ", same work")
    ]
    speeds = [[row.what.partition(": ")[2] for row in found if row.unit == "images/s"] for found in rows]
    assert speeds == [train, ["ours", "peer eager contiguous", "peer eager channels_last"]]
    said = ["round" if ", round " in line else "started" for line in capsys.readouterr().out.splitlines()]
    assert said == ["started"] * 13 + ["round"] * 4
    assert len(made) == (1 + 4) + (1 + 2)
    assert {worker.process.returncode for worker in made} == {0}


def test_workers_import_nothing_of_each_other():
    assert "import torch" not in (ROOT / "benchmarks/ours.py").read_text()
    lines = (ROOT / "benchmarks/peer.py").read_text().splitlines()
    imports = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imports - set(sys.stdlib_module_names) == {"numpy", "segmentation_models_pytorch", "torch", "benchmarks"}
    worker = (ROOT / "benchmarks/worker.py").read_text().splitlines()
    imports = {line.split()[1].split(".")[0] for line in worker if line.startswith(("import ", "from "))}
    assert imports <= set(sys.stdlib_module_names)


# ---- the command ---------------------------------------------------------------------------------------------------
def bench(*flags: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "benchmarks.run", "--tiny=True", *flags]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def result(done: subprocess.CompletedProcess[str], folder: Path) -> dict:
    """The JSON that a run wrote, whose name it says last."""
    assert done.returncode == 0, done.stderr
    (path,) = folder.iterdir()
    assert done.stdout.splitlines()[-1] == f"wrote {path}"
    assert path.name.startswith(("cpu_", "gpu_"))
    return json.loads(path.read_text())


@pytest.mark.slow
def test_ours_alone(tmp_path):
    found = result(
        bench("--only=infer", "--rounds=2", "--peer=none", f"--results_path={tmp_path}/new"), tmp_path / "new"
    )
    assert found["command"] == "python -m benchmarks.run --only=infer --rounds=2 --peer=none --tiny=True"
    assert "peer" not in found
    speed, first, others = found["rows"]
    assert (speed["what"], speed["unit"], len(speed["values"])) == ("infer, float32, batch 2: ours", "images/s", 2)
    assert min(speed["values"]) > 0
    assert [first["unit"], others["unit"]] == ["s", "cores"]
    told = json.dumps(found)
    assert str(ROOT) not in told
    assert str(tmp_path) not in told


@needs_peer
@pytest.mark.slow
def test_ours_beside_the_peer(tmp_path):
    found = result(bench("--rounds=1", "--only=train-bfloat16", f"--results_path={tmp_path}"), tmp_path)
    assert found["peer"]["torch"]
    names = [row["what"].removeprefix("train, bfloat16, batch 2: ") for row in found["rows"][:-1]]
    assert names == [
        "ours",
        "peer eager contiguous",
        "peer eager contiguous, same work",
        "peer eager channels_last",
        "peer eager channels_last, same work",
        "ours / fastest peer",
        "ours / fastest peer, same work",
        "our first step",
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--peer=/nowhere/python"], "no peer at /nowhere/python; `make bench` installs it, --peer=none"),
        (["--peer=none", "--only=trian"], "no part's name begins with 'trian'; --only=list shows them"),
        (["--rounds=0"], "0 is outside 1"),
        (["--round=3"], "did you mean --rounds?"),
    ],
)
def test_refuses_in_one_line(tmp_path, flags, said):
    assert said in error_line(run_here(main, *flags, cwd=tmp_path))
    assert not list(tmp_path.glob("*/*.json"))


def test_refuses_an_interpreter_without_the_peer(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without packages, whatever this one's has
    bare.chmod(0o755)
    said = error_line(run_here(main, f"--peer={bare}", cwd=tmp_path))
    assert said.startswith(
        f"{bare} cannot run the peer, the worker ended: ModuleNotFoundError: No module named 'numpy'"
    )


def test_a_run_cut_short_keeps_what_it_measured(tmp_path, monkeypatch):
    def refuse():
        raise InputError("the second part")

    parts = {"host": lambda: [Row("a", "s", [1])], "floor": refuse}
    monkeypatch.setattr("benchmarks.run.list_parts", lambda *_: parts)
    assert error_line(run_here(main, cwd=tmp_path)) == "the second part"  # no peer here, which neither part asks for
    (path,) = tmp_path.glob("benchmarks/results/*.json")
    assert [row["what"] for row in json.loads(path.read_text())["rows"]] == ["a"]


def test_lists_its_parts(tmp_path):
    lines = run_here(main, "--only=list", "--peer=none", "--tiny=True", cwd=tmp_path).stdout.splitlines()
    assert lines[:3] == ["train-bfloat16-2", "train-best-2", "infer-float32-2"]
    args = parser().parse_args(["--only=floor,train-best", "--tiny=True"])
    assert list(list_parts(gpu=False, peer=None, compile=False, args=args)) == ["train-best-2", "floor"]


def test_the_command_told_has_no_path():
    args = parser().parse_args(["--peer=/home/me/python", "--results_path=/home/me/r", "--rounds=7"])
    assert command(args) == "python -m benchmarks.run --rounds=7"


def test_a_peer_on_another_device_is_refused(sleeper):
    assert contest.peer_facts(sleeper, gpu=False) == {"device": "CPU"}
    refused(lambda: contest.peer_facts(sleeper, gpu=True), "TensorFlow has a GPU, the peer's device is CPU")
