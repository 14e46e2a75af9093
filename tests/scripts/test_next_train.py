"""What tgs_train.py names for what comes next is pasted into a shell, in the folder of the run, and works."""

import shlex
import shutil
from pathlib import Path

import pytest

import tgs_preprocess
import tgs_train
from tests.helpers import pasting
from tests.helpers.commands import next_command, run_here
from tests.helpers.training import TINY

pytestmark = pytest.mark.usefixtures("eager")
SHORT = (*TINY, "--epochs=1")


def paste(said: str, cwd: Path) -> str:
    """Run what is named next as a shell takes it; returns what it printed."""
    return pasting.paste(next_command(said), cwd)


def trained_here(cwd: Path, *flags: str) -> str:
    done = run_here(tgs_train.main, *SHORT, *flags, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("odd", [pytest.param("my salt", marks=pytest.mark.slow), "it's $HOME; #1"])
def test_one_fold_of_several_then_its_prediction_in_odd_folders(tmp_path, sample, odd):
    """Data, folds, weights and logs all lie elsewhere than by default, in folders whose names a shell would change."""
    shutil.copytree(sample, tmp_path / odd / "tgs")
    folds = run_here(
        tgs_preprocess.main, f"--data_path={odd}/tgs", f"--folds_path={odd}/folds", "--fold=2", cwd=tmp_path
    )
    assert folds.returncode == 0, folds.stderr
    places = (f"--data_path={odd}/folds/fold_1", f"--weights_path={odd}/weights", f"--log_dir={odd}/logs")
    said = trained_here(tmp_path, *places)
    assert f"or train the 1 other folds: this command with --data_path={shlex.quote(f'{odd}/folds')}" in said
    assert "12 tiles, " in paste(said, tmp_path)  # the test tiles beside those of the fold


def test_every_fold_then_the_score_in_an_odd_folder(tmp_path, sample):
    split = run_here(tgs_preprocess.main, f"--data_path={sample}", "--folds_path=my folds", "--fold=3", cwd=tmp_path)
    assert split.returncode == 0, split.stderr
    said = trained_here(tmp_path, "--data_path=my folds", "--weights_path=my weights")
    assert "out of fold, 60 tiles of 3 fold(s)" in paste(said, tmp_path)


def test_where_no_test_tiles_are_to_be_found_the_validation_tiles_are_named(tmp_path, folds):
    shutil.copytree(folds, tmp_path / "folds")  # copies, not links
    said = trained_here(tmp_path, "--data_path=folds/fold_0")
    assert "--data_path=folds/fold_0/val/images" in next_command(said)
    assert "20 tiles, " in paste(said, tmp_path)


def test_by_default_nothing_more_is_named(tmp_path, sample, folds):
    (tmp_path / "data").mkdir()
    shutil.copytree(sample, tmp_path / "data/tgs")
    done = run_here(tgs_preprocess.main, "--fold=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    command = next_command(trained_here(tmp_path, "--data_path=folds/fold_0"))
    assert command.endswith("tgs_predict.py --file_name=weights/tiny/fold_0_best.weights.h5")
