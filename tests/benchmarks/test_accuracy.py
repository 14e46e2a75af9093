"""The program that compares trainings out of fold: what it runs, what it keeps, and where it goes on when stopped."""

import json
import shutil

import pytest

from benchmarks import accuracy
from benchmarks.accuracy import PAGE, changed, commands_of, inherited, table
from benchmarks.experiments import SETS, Experiment
from tests.helpers.commands import ROOT, error_line, run_here

BASE = Experiment("base", flags={"model": "resnet34", "seed": 1}, folds=1, group="none", pick="last")
LONG = Experiment("long", "base", {"seed": 2}, folds=5)
TAUGHT = Experiment("taught", "long", group="mosaic", teacher="long")
KNOWN = {e.name: e for e in (BASE, LONG, TAUGHT)}


def args(**others):
    given = {"data_path": "tiles", "work_path": "w", "tiny": False} | others
    return accuracy.parser().parse_args([f"--{key}={value}" for key, value in given.items()])


def test_an_experiment_takes_over_what_it_does_not_change():
    found = inherited(TAUGHT, KNOWN)
    assert found == Experiment(
        "taught", "long", {"model": "resnet34", "seed": 2}, folds=5, group="mosaic", pick="last", teacher="long"
    )
    assert inherited(LONG, KNOWN).teacher is None
    assert (changed(BASE), changed(LONG)) == ("", "`--seed=2`, 5 folds")
    assert changed(TAUGHT) == "`--group=mosaic`, `--teacher=long`"


@pytest.mark.parametrize("group", SETS)
def test_a_teacher_is_trained_before_its_pupils(group):
    names = [e.name for e in SETS[group]]
    for e in SETS[group]:
        assert e.teacher is None or e.teacher in names[: names.index(e.name)], e.name


def test_minutes_of_folds_side_by_side_by_hand():
    """Of two at a time the longer of each round counts: 120, 60 and, alone, 90 s."""
    assert accuracy.minutes([60, 120, 60, 60, 90], 2) == 4.5
    assert accuracy.minutes([60, 120, 60, 60, 90], 1) == 6.5


def test_the_commands_of_an_experiment(tmp_path):
    assert commands_of(BASE, "gpu/base", args(), KNOWN) == [
        ["tgs_preprocess.py", "--data_path=tiles", "--folds_path=w/folds_none", "--group=none", "--fold=5"],
        ["tgs_train.py", "--data_path=w/folds_none/fold_0", "--model=resnet34", "--seed=1",
         "--weights_path=w/gpu/base", "--log_dir=w/gpu/base/logs"],
        ["tgs_predict.py", "--oof=True", "--allow_missing=True", "--model=resnet34", "--pick=last",
         "--weights_path=w/gpu/base", "--folds_path=w/folds_none"],
    ]  # fmt: skip
    _, training, _ = commands_of(inherited(TAUGHT, KNOWN), "gpu/taught", args(), KNOWN)
    assert training[1] == "--data_path=w/folds_mosaic"
    assert {"--teacher=w/gpu/long/resnet34", "--unlabelled_path=tiles"} < set(training)
    other = inherited(Experiment("other", "taught", {"model": "tiny"}, teacher="long"), KNOWN)
    _, training, _ = commands_of(other, "gpu/other", args(), KNOWN)  # labelled by the teacher's network, not its own
    assert {"--model=tiny", "--teacher=w/gpu/long/resnet34"} < set(training)

    weights = Experiment("x", flags={"model": "resnet34", "encoder_weights": "timm/a.b"}, folds=1, group="none")
    assert "--encoder_weights=timm/a.b" in commands_of(weights, "gpu/x", args(work_path=tmp_path), KNOWN)[1]
    (tmp_path / "a.b.safetensors").touch()  # in place of a download
    local = f"--encoder_weights={tmp_path}/a.b.safetensors"
    assert local in commands_of(weights, "gpu/x", args(work_path=tmp_path), KNOWN)[1]


@pytest.mark.parametrize("group", SETS)
def test_every_experiment_is_one_that_the_commands_take(group):
    import tgs_predict
    import tgs_preprocess
    import tgs_train

    parsers = {
        "tgs_preprocess.py": tgs_preprocess.parser(),
        "tgs_train.py": tgs_train.parser(False),
        "tgs_predict.py": tgs_predict.parser(),
    }
    known = {e.name: e for e in SETS[group]}
    assert len(known) == len(SETS[group])
    for e in SETS[group]:
        for script, *flags in commands_of(inherited(e, known), f"{group}/{e.name}", args(), known):
            parsers[script].parse_args(flags)


def test_the_table_names_the_gain_and_the_spread():
    row = {"changed": "", "seed": 1, "minutes": 2.5, "device": "CPU, 2 cores", "cores": 2, "cpu": "Some CPU"}
    base = row | {"name": "cpu/base", "against": None, "score": 0.5, "score_per_fold": {"fold_0": 0.4, "fold_1": 0.6}}
    other = base | {"name": "cpu/b", "against": "base", "score": 0.4, "changed": "`--seed=2`", "device": "A GPU"}
    one = base | {"name": "cpu/c", "against": "base", "score": 0.7, "score_per_fold": {"fold_0": 0.7}}
    assert table([base, other, one]).splitlines()[2:] == [
        "| cpu/base |  | 0.5000 | 2: 0.4000 to 0.6000 |  | 1 | 2.5 | 2 cores, Some CPU |",
        "| cpu/b | `--seed=2` | 0.4000 | 2: 0.4000 to 0.6000 | -0.1000 to base | 1 | 2.5 | A GPU |",
        "| cpu/c |  | 0.7000 | 1 | +0.3000 to base | 1 | 2.5 | 2 cores, Some CPU |",  # beside that fold of base
    ]


def test_the_page_says_what_the_rows_say(tmp_path, monkeypatch):
    """The committed table is the one of the committed rows."""
    monkeypatch.setattr(accuracy, "PAGE", tmp_path / "page.md")
    shutil.copy(PAGE, accuracy.PAGE)
    accuracy.write_page(ROOT / "benchmarks/results/accuracy")
    assert accuracy.PAGE.read_text() == PAGE.read_text()


def test_refuses_in_one_line(tmp_path):
    said = error_line(run_here(accuracy.main, "--only=gpu/nothing", cwd=tmp_path))
    assert said == "no experiment's name begins with 'gpu/nothing'; --only=list shows them"


def test_a_whole_name_is_of_one_experiment(monkeypatch, tmp_path):
    """`scratch` begins `scratch-mosaic` too."""
    asked = []
    monkeypatch.setattr(accuracy, "measure", lambda whole, name, *_: asked.append(name) or {"score": 0, "minutes": 0})
    monkeypatch.setattr(accuracy, "table", lambda rows: "")
    for only in ("gpu/scratch", "gpu/scratch-"):
        accuracy.main([f"--only={only}", f"--results_path={tmp_path}/{only}"])
    assert asked == ["gpu/scratch", "gpu/scratch-mosaic", "gpu/scratch-imagenet"]


@pytest.mark.slow
def test_rows_are_measured_once_and_go_on_where_they_stopped(tmp_path, sample, monkeypatch):
    """Two experiments whole: real trainings of two folds, judged; the second call does nothing again."""
    a = Experiment("a", flags={"seed": 1}, folds=2, group="none", pick="last")
    monkeypatch.setattr(accuracy, "SETS", {"cpu": (a, Experiment("b", "a", {"seed": 2}))})
    flags = ["--only=cpu", "--tiny=True", f"--data_path={sample}", f"--results_path={tmp_path}/rows"]
    page = PAGE.read_text()
    done = run_here(accuracy.main, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    a, b = (json.loads((tmp_path / f"rows/cpu_{name}.json").read_text()) for name in "ab")
    summary = json.loads((tmp_path / "accuracy/cpu/a/tiny/oof_last.json").read_text())
    assert (a["score"], a["seed"], b["seed"], b["against"]) == (summary["score"], 1, 2, "a")
    assert set(a["score_per_fold"]) == {"fold_0", "fold_1"}
    assert a["minutes"] >= 0
    assert PAGE.read_text() == page  # rows elsewhere are not the page's

    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    again = run_here(accuracy.main, *flags, cwd=tmp_path)
    assert again.stdout.splitlines() == done.stdout.splitlines()[-4:]  # the table alone
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()} == before

    shutil.rmtree(tmp_path / "accuracy/folds_none/fold_1")  # a command that fails is named, and nothing is kept of it
    (tmp_path / "rows/cpu_b.json").unlink()
    said = error_line(run_here(accuracy.main, *flags, cwd=tmp_path))
    assert said.startswith("cpu/b: tgs_train.py ended with 2, above is why")
    assert not (tmp_path / "rows/cpu_b.json").exists()
