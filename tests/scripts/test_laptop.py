"""`make laptop` and the recipes in configs/: how long it will take, said before; every step; gone on with."""

import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

import tgs_train
from tests.helpers.commands import ROOT, run_here
from tests.helpers.shell import program, run
from tests.helpers.training import TINY
from training.forecast import tell
from training.settings import Settings

pytestmark = pytest.mark.usefixtures("eager")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
CONFIG = "model: tiny\ntarget_size: 64\nsmall_size: 32\nepochs: 2\nsmall_epochs: 1\nbatch_size: 8\n"


# ---- how long ----------------------------------------------------------------------------------------------


def test_what_is_left_by_hand():
    """Six epochs of 2 s and four of 10, and what first steps take longer: 3 and 5 s."""
    said = tell({64: 6, 128: 4}, {64: (2.0, 3.0), 128: (10.0, 5.0)})
    assert (
        said == "about 60 s of training left on this machine: 6 epochs of 2.0 s at 64 px, 4 epochs of 10.0 s at 128 px"
    )


def test_folds_side_by_side_take_a_part_of_it():
    """Five folds, two at once: three rounds of five, of 5 x 20 s."""
    assert tell({64: 10}, {64: (10.0, 0.0)}, 3 / 5).startswith("about 60 s of training left")


def forecast(cwd: Path, *flags: str) -> str:
    done = run_here(tgs_train.main, *TINY, "--data_path=folds", "--forecast", *flags, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_counts_what_is_left_and_writes_nothing(trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    assert forecast(trained, "--epochs=2") == "nothing is left to train\n"
    assert re.match(r"about \d+ s of training left on this machine: 3 epochs of \d+\.\d s at 32 px\n$",
                    forecast(trained, "--epochs=3"))  # fmt: skip
    assert before == {path: path.stat().st_mtime_ns for path in trained.rglob("*")}


@pytest.mark.slow
def test_it_counts_the_small_epochs_by_themselves(trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    small = ("--target_size=64", "--small_size=32", "--small_epochs=3", "--epochs=4")
    said = forecast(trained, *small)
    assert re.search(r": 3 epochs of .* at 32 px, 3 epochs of .* at 64 px", said)
    assert re.search(r": 9 epochs of .* at 32 px, 3 epochs of .* at 64 px", forecast(trained, *small, "--resume=False"))
    assert before == {path: path.stat().st_mtime_ns for path in trained.rglob("*")}


def test_a_prediction_of_the_test_tiles_is_told_too(workspace):
    (workspace / "data").mkdir()
    (workspace / "data/tgs").symlink_to(workspace / "tgs")
    said = forecast(workspace, "--epochs=1")
    assert re.search(r"; then about \d+ s to predict the 12 test tiles by 3 networks\n$", said)


# ---- the recipes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_are_flags_that_go_together(path):
    args = tgs_train.parser(False).parse_args([f"--config={path}"])
    settings = Settings.from_flags(args)
    assert settings.model == args.model
    assert re.search(r"^model: \S+$", path.read_text(), re.M)  # as the Makefile reads it
    assert path.read_text().startswith("# ")


# ---- make laptop -------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path, sample) -> Path:
    """The Makefile beside Kaggle's zips; its environment's python is this one, which notes its commands in `calls`."""
    for name in ["Makefile", *(path.name for path in ROOT.glob("requirements*.txt"))]:
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    body = f'case "$1" in -c) exec "{sys.executable}" "$@";; -m) exit;; esac\necho "$1" >>calls\n'
    program(tmp_path / ".venv/bin/python", f'{body}exec "{sys.executable}" "{ROOT}/$1" "${{@:2}}"')
    (tmp_path / "data/tgs").mkdir(parents=True)
    for split in ("train", "test"):
        shutil.make_archive(str(tmp_path / "data/tgs" / split), "zip", sample / split)
    for path in sample.glob("*.csv"):
        shutil.copy(path, tmp_path / "data/tgs")
    return tmp_path


def make_laptop(cwd: Path) -> tuple[str, list[str]]:
    """Run it; returns what it said and the scripts that it called."""
    (cwd / "calls").unlink(missing_ok=True)
    done = run("make", "laptop", "CONFIG=tiny.yaml", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout, (cwd / "calls").read_text().split()


@needs_make
@pytest.mark.slow
def test_from_zips_to_a_submission_and_nothing_twice(checkout):
    train, predict = "tgs_train.py", "tgs_predict.py"
    said, called = make_laptop(checkout)
    assert called == ["tgs_preprocess.py", train, train, predict, predict, predict]
    before, _, after = said.partition("of training left on this machine: 5 epochs of ")
    assert "epoch 1/2" in after
    assert "epoch 1/2" not in before
    weights, submissions = checkout / "weights/tiny", checkout / "submission"
    assert (weights / "oof_last.html").is_file()
    (submission,) = submissions.glob("submission_tiny_5_folds_last_*.csv")
    kept = {path: path.read_bytes() for path in [*weights.glob("*.h5"), submission]}

    said, called = make_laptop(checkout)
    assert called == ["tgs_preprocess.py", train, train, predict]  # the last validates what is there
    assert "nothing is left to train" in said
    assert said.count("finished before") == 5
    assert said.count("is newer than all weights") == 2
    assert kept == {path: path.read_bytes() for path in [*weights.glob("*.h5"), *submissions.glob("*.csv")]}

    # Stopped after four folds: the fifth is trained, and all that comes of the weights is made anew.
    for path in weights.glob("fold_4_*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    later = time.time() - 100
    for path in [weights / "oof_last.html", submission]:
        os.utime(path, (later, later))
    said, called = make_laptop(checkout)
    assert called == ["tgs_preprocess.py", train, train, predict, predict, predict]
    assert said.count("finished before") == 4
    assert kept.items() <= {path: path.read_bytes() for path in kept}.items()  # the same bits again
