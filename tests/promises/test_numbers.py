"""Numbers that cannot lie: a loss that is not finite, a fold that overlaps, weights of other folds, a submission."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import tgs_predict
import tgs_train
from tests.helpers.commands import error_line, run_here, run_script
from tests.helpers.jobs import check_files, job, state
from tests.helpers.rings import horovod
from tests.helpers.training import TINY

# AdamW multiplies each weight by 1 - rate x decay a step: from the third epoch on that is less than -1.
EXPLODING = (
    *TINY, "--data_path=folds/fold_0", "--epochs=120", "--warmup_epochs=100", "--learning_rate=10", "--weight_decay=10"
)  # fmt: skip


def outputs(path: Path) -> dict[Path, bytes]:
    """All that a training wrote, but TensorBoard's events."""
    return {
        file: file.read_bytes()
        for folder in ("weights", "logs")
        for file in (path / folder).rglob("*")
        if file.is_file() and "tfevents" not in file.name
    }


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_the_last_good_weights(workspace):
    """The same line from the first run and from its resumption; nothing of the bad epoch is written."""
    first = run_script("tgs_train.py", *EXPLODING, cwd=workspace)
    said = error_line(first)
    good = check_files(workspace)
    assert good >= 2
    assert first.stdout.count("val_score") == good
    assert f"fold_0, epoch {good + 1}, step " in said or f"fold_0, epoch {good + 1}, after step 5: " in said
    assert "lower --learning_rate, what was saved is kept" in said
    before = outputs(workspace)
    assert {"fold_0_best.weights.h5", "fold_0_last.weights.h5", "state.npz"} <= {path.name for path in before}
    assert all(np.isfinite(array).all() for array in state(workspace / "weights/tiny")[1])
    assert error_line(run_here(tgs_train.main, *EXPLODING, cwd=workspace)) == said
    assert outputs(workspace) == before


@pytest.mark.slow
@horovod
def test_a_loss_that_is_not_finite_is_one_line_of_a_ring_too(workspace):
    with job(workspace, *EXPLODING, ring=True) as running:
        good = len(list(running.epochs()))
        code, said = running.end()
    assert code == 2
    lines = [line for line in said.splitlines() if line.startswith(("error", "Traceback"))]
    assert len(lines) == 1, said
    assert f"fold_0, epoch {good + 1}, " in lines[0]
    assert check_files(workspace) == good >= 1


def test_a_validation_fold_that_overlaps_training_is_refused(workspace, folds):
    """A tile that was put into both parts by hand, with its mask."""
    (workspace / "folds").unlink()
    shutil.copytree(folds, workspace / "folds")
    fold = workspace / "folds/fold_0"
    name = min(os.listdir(fold / "val/images"))
    for kind in ("images", "masks"):
        (fold / "train" / kind / name).symlink_to((fold / "val" / kind / name).resolve())
    said = error_line(run_here(tgs_train.main, *TINY, "--data_path=folds/fold_0", cwd=workspace))
    assert f"folds/fold_0/train and folds/folds.csv disagree about the tile '{name.removesuffix('.png')}'" in said
    assert not (workspace / "weights").exists()


def test_a_submission_that_does_not_validate_never_appears(trained, workspace, monkeypatch):
    """What a broken encoder writes is found before the file has its name."""
    monkeypatch.setattr("models.submit.encode_rle", lambda mask: "5 5 1 1")
    weights = trained / "weights/tiny/fold_0_best.weights.h5"
    done = run_here(tgs_predict.main, f"--file_name={weights}", "--data_path=tgs", "--threshold=0", cwd=workspace)
    assert "run '1 1' overlaps or precedes" in error_line(done)
    assert not (workspace / "submission").exists()
