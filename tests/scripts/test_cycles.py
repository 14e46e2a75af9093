"""Weights of every cycle: kept, resumed, never mixed with another training's, predicted and evaluated together."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import tgs_predict
import tgs_train
from models.ensemble import find_weights, fold_files
from models.weights import load_recipe
from tests.helpers.commands import error_line, refused, run_here
from tests.helpers.training import TINY, same

CYCLES = ("--epochs=4", "--cycles=2", "--warmup_epochs=1", "--swa=0.5")


def train(cwd: Path, *flags: str) -> str:
    done = run_here(tgs_train.main, *TINY, *flags, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def predict(cwd: Path, *flags: str) -> str:
    done = run_here(tgs_predict.main, "--model=tiny", "--tta=False", *flags, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cycled(once, sample, folds) -> Path:
    """A project with weights of two cycles of each of three folds."""

    def make(path: Path) -> None:
        (path / "tgs").symlink_to(sample)
        (path / "folds").symlink_to(folds)
        said = train(path, "--data_path=folds", *CYCLES)
        assert re.search(r"next: \S*python \S*tgs_predict.py --oof=True --model=tiny --pick=cycles\n$", said)

    return once("cycled", make)


@pytest.fixture
def copy(cycled, tmp_path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(cycled, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_every_cycle_leaves_the_weights_it_ends_with(cycled):
    weights = cycled / "weights/tiny"
    files = fold_files(cycled / "weights", "tiny", "cycles")
    assert [file.name for file in files] == [f"fold_{k}_cycle{c}.weights.h5" for k in range(3) for c in (1, 2)]
    for k in range(3):
        recipes = [load_recipe(weights / f"fold_{k}_cycle{c}.weights.h5") for c in (1, 2)]
        assert [(r.cycle, r.cycles, r.epoch) for r in recipes] == [(1, 2, 2), (2, 2, 4)]
        assert same(weights / f"fold_{k}_cycle2.weights.h5", weights / f"fold_{k}_last.weights.h5")
        assert not same(weights / f"fold_{k}_cycle1.weights.h5", weights / f"fold_{k}_cycle2.weights.h5")


def test_one_cycle_keeps_none(trained):
    assert not list((trained / "weights/tiny").glob("*cycle*"))
    said = refused(lambda: fold_files(trained / "weights", "tiny", "cycles"), "no fold_*_cycle*.weights.h5 in ")
    assert said.endswith("weights/tiny, which a training with --cycles leaves; train first, or name another --model")


def test_ten_cycles_and_ten_folds_keep_their_order(tmp_path, cycled):
    """Eleven of each, named as files only: 2 stands before 10."""
    for k in range(11):
        for c in range(1, 12):
            (tmp_path / f"fold_{k}_cycle{c}.weights.h5").touch()
    names = [file.name for file in find_weights(tmp_path, "cycles")]
    assert names == [f"fold_{k}_cycle{c}.weights.h5" for k in range(11) for c in range(1, 12)]


@pytest.mark.usefixtures("eager")
def test_out_of_fold_is_the_mean_of_the_folds_own_cycles(copy):
    said = predict(copy, "--oof=True", "--pick=cycles", "--probabilities=npy")
    assert "tgs_predict.py --use_folds=True --model=tiny --pick=cycles" in said
    summary = json.loads((copy / "weights/tiny/oof_cycles.json").read_text())
    found = np.load(copy / "weights/tiny/oof_cycles_probabilities.npy")
    assert (summary["tiles"], len(found)) == (60, 60)

    from data.folds.fold import read_fold
    from models.geometry import Geometry
    from models.metrics import points
    from models.predictor import Predictor
    from models.weights import load_model

    val = read_fold(copy / "folds/fold_1").val
    models = [load_model(copy / f"weights/tiny/fold_1_cycle{c}.weights.h5")[0] for c in (1, 2)]
    mean = np.mean([Predictor([(model, Geometry(32))])(val.images) for model in models], axis=0)
    assert np.allclose(found[20:40], mean, atol=1e-3)  # saved in float16
    of_fold = points(val.masks, mean.astype(np.float16) > 0.5).mean() / 10
    assert summary["score_per_fold"]["fold_1"] == pytest.approx(of_fold, abs=0.006)

    # What was found there is what a submission of all cycles of all folds is decided by.
    said = predict(copy, "--use_folds=True", "--pick=cycles", "--data_path=tgs", "--fold_weights=score")
    assert f"by 6 model(s), threshold {summary['threshold']}, minimum area {summary['min_area']}" in said
    assert re.search(r"wrote submission/submission_tiny_3_folds_cycles_", said)
    said = predict(copy, "--model=list")
    assert re.search(r"tiny +cycles: 3 of 3 folds, 6 weights, score 0\.\d{4} on their", said)


@pytest.mark.usefixtures("eager")
def test_a_missing_cycle_is_one_line(copy):
    for ending in (".weights.h5", ".json"):
        (copy / f"weights/tiny/fold_1_cycle1{ending}").unlink()
    flags = ("--use_folds=True", "--model=tiny", "--pick=cycles", "--data_path=tgs", "--tta=False")
    line = error_line(run_here(tgs_predict.main, *flags, cwd=copy))
    assert line.startswith("weights/tiny has 1 of the 2 cycles of fold_1; train it to its end, or add --allow_missing")
    assert "by 5 model(s)" in predict(copy, *flags, "--allow_missing=True")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "weights/tiny has cycles of different trainings of fold_1; train it again with --resume=False"),
        (None, "weights/tiny has cycles of different trainings of fold_1; train it again with --resume=False"),
        *[(value, "fold_1_cycle1.json lacks 'cycles'; train again, or restore the file") for value in ("2", [], 2.5)],
    ],
)
def test_cycles_of_another_training_are_refused(copy, value, said):
    recipe = copy / "weights/tiny/fold_1_cycle1.json"
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"cycles": value}))
    for allowed in (False, True):
        refused(lambda allowed=allowed: fold_files(copy / "weights", "tiny", "cycles", allow_missing=allowed), said)


@pytest.mark.slow
def test_a_training_begun_anew_removes_the_cycles_of_the_one_before(copy):
    """Fewer cycles than before: 2, then 3, then 1. A finished run keeps what it has, and so do the other folds."""
    weights, fold = copy / "weights/tiny", "--data_path=folds/fold_0"
    before = {path: path.read_bytes() for path in weights.glob("*cycle*")}
    assert "finished before" in train(copy, fold, *CYCLES)
    assert before == {path: path.read_bytes() for path in weights.glob("*cycle*")}
    line = error_line(run_here(tgs_train.main, *TINY, fold, *CYCLES, "--cycles=3", cwd=copy))
    assert "was made with --cycles=2, not 3" in line
    train(copy, fold, *CYCLES, "--cycles=3", "--resume=False")
    assert len(list(weights.glob("fold_0_cycle*.json"))) == 3
    train(copy, fold, "--epochs=2", "--resume=False")
    assert not list(weights.glob("fold_0_cycle*"))
    others = [path for path in before if "fold_0" not in path.name]
    assert len(others) == 8
    assert all(before[path] == path.read_bytes() for path in others)


def test_more_cycles_than_epochs_are_refused(workspace):
    done = run_here(tgs_train.main, *TINY, "--data_path=folds/fold_0", "--epochs=2", "--cycles=3", cwd=workspace)
    assert "--cycles=3 need an epoch each, --epochs=2 are too few" in error_line(done)
    assert not (workspace / "weights").exists()


@pytest.mark.slow
@pytest.mark.parametrize("moment", [("half", "fold_0_cycle1.weights.h5", 1), ("after", "fold_0_cycle1.json", 1)])
def test_killed_while_a_cycle_is_written_it_ends_with_the_same_bits(cycled, workspace, moment):
    from tests.helpers.jobs import assert_same_end, check_files, job

    with job(workspace, *TINY, *CYCLES, dies=("SIGKILL", *moment)) as running:
        assert running.end()[0] == -9
    assert check_files(workspace) == 1
    train(workspace, "--data_path=folds/fold_0", *CYCLES)
    assert_same_end(cycled, workspace)
    names = ("fold_0_cycle1.weights.h5", "fold_0_cycle2.weights.h5")
    assert all(same(cycled / "weights/tiny" / name, workspace / "weights/tiny" / name) for name in names)
    assert not list((workspace / "weights/tiny").glob(".*"))
