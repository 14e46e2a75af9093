"""tgs_train.py as users run it: outputs, finished runs, wrong flags."""

import csv
import json
import shutil
from pathlib import Path

import pytest

import tgs_train
from tests.helpers.commands import run_here, run_script
from tests.helpers.training import TINY, arrays, same


def test_every_fold_leaves_weights_recipe_logs_and_state(trained):
    for k in range(3):
        weights, logs = trained / "weights" / "tiny", trained / "logs" / "tiny" / f"fold_{k}"
        recipe = json.loads((weights / f"fold_{k}_last.json").read_text())
        assert recipe["fold"] == f"fold_{k}"
        assert (recipe["epoch"], recipe["folds"], recipe["model"], recipe["target_size"]) == (2, 3, "tiny", 32)
        assert recipe["flags"]["batch_size"] == 8
        assert recipe["versions"].keys() == {"commit", "code", "python", "tensorflow", "keras", "numpy"}
        rows = list(csv.DictReader((logs / "history.csv").read_text().splitlines()))
        assert [row["epoch"] for row in rows] == ["1", "2"]
        assert all(0 <= float(row["val_score"]) <= 1 for row in rows)
        best = json.loads((weights / f"fold_{k}_best.json").read_text())
        assert best["score"] == max(float(row["val_score"]) for row in rows)
        assert arrays(weights / f"fold_{k}_best.weights.h5")
        assert (weights / f"fold_{k}_state" / "state.npz").stat().st_size > 100_000
        assert (weights / f"fold_{k}_curves.png").read_bytes().startswith(b"\x89PNG")
        assert "target_size: 32" in (weights / f"fold_{k}_config.yaml").read_text()
        assert len(list(logs.glob("events.out.tfevents.*"))) == 1
        left = [p.name for p in weights.iterdir() if p.name.startswith(".")]
        assert left == []  # no temporary file


def test_tensorboard_holds_scalars_and_example_predictions(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained / "logs" / "tiny" / "fold_0")).Reload()
    tags = set(events.Tags()["tensors"])
    assert {"loss", "val_loss", "val_score", "learning_rate", "images_per_second"} <= tags
    assert {"image, truth, probability", "flags", "step/loss", "step/milliseconds"} <= tags
    assert [event.step for event in events.Tensors("step/milliseconds")] == list(range(1, 11))  # 2 epochs of 5


@pytest.fixture
def copy(trained, tmp_path) -> Path:
    """A copy of the trained project: whoever trains holds a fold's lock, which tests beside it would meet."""
    return Path(shutil.copytree(trained, tmp_path / "copy", symlinks=True))


def test_a_finished_run_says_so_and_changes_nothing(copy):
    files = {path: path.read_bytes() for path in (copy / "weights").rglob("*") if path.is_file()}
    again = run_here(tgs_train.main, *TINY, "--data_path=folds", "--epochs=2", cwd=copy)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished before") == 3
    assert files == {path: path.read_bytes() for path in (copy / "weights").rglob("*") if path.is_file()}


def test_a_fold_trained_after_another_has_the_bits_of_one_trained_alone(trained, workspace):
    """The folds of one command share network, optimizer and compiled step; nothing of one reaches the next."""
    done = run_here(tgs_train.main, *TINY, "--data_path=folds/fold_1", "--epochs=2", cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert same(*(path / "weights/tiny/fold_1_last.weights.h5" for path in (trained, workspace)))


def test_other_flags_do_not_resume(copy):
    refused = run_here(tgs_train.main, *TINY, "--data_path=folds/fold_0", "--epochs=2", "--seed=2", cwd=copy)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert "--seed=1" in refused.stderr
    assert "--resume=False" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data_path=nowhere"], "no fold in nowhere"),
        (["--data_path=folds/fold_0", "--model=resnet43"], "choose from resnet34, "),
        (["--data_path=folds/fold_0", "--loss=bec"], "no loss 'bec'"),
        (["--data_path=folds/fold_0", "--target_size=100"], "take 96"),
        (["--epochs=0"], "outside 1"),
        (["--use_lovasz=maybe"], "'maybe' is not True or False"),
        (["--epoch=3"], "did you mean --epochs?"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(workspace, flags, said):
    done = run_here(tgs_train.main, "--model=tiny", *flags, cwd=workspace)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (workspace / "weights").exists()
    assert not (workspace / "logs").exists()


def test_help_is_answered_without_tensorflow(workspace):
    for script in ("tgs_train.py", "tgs_train_ring.py", "tgs_predict.py"):
        done = run_script(script, "--help", cwd=workspace, interpreter_flags=("-X", "importtime"))
        assert done.returncode == 0
        assert "--data_path" in done.stdout
        imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
        assert "argparse" in imported
        assert not imported & {"tensorflow", "keras", "numpy", "pandas", "cv2"}
