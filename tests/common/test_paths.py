"""Paths as people type them: one type for every flag that names a place, on the command line and in --config."""

import argparse
import contextlib
import os
import re
from pathlib import Path

import pytest

import tgs_predict
import tgs_preprocess
import tgs_train
from common.flags import PLACES, place
from data import list_folds, read_fold, sample
from tests.helpers.commands import error_line, run_here

SHORT = ("--model=tiny", "--target_size=32", "--batch_size=8", "--epochs=1")
PARSERS = {
    "preprocess": tgs_preprocess.parser,
    "train": lambda: tgs_train.parser(False),
    "predict": tgs_predict.parser,
}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home of one's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def flags(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The flags with a value, and what `--help` calls it."""
    return dict(re.findall(r"^  --(\w+) ([A-Z]+)", parser.format_help(), re.M))


def test_every_flag_that_names_a_place_knows_homes(home):
    """Of each command: the same of a YAML file; the word default and metavar say which are meant."""
    for made in PARSERS.values():
        named = [name for name, value in flags(made()).items() if value in PLACES and name != "config"]
        assert len(named) >= 2
        for name in named:
            assert getattr(made().parse_args([f"--{name}=~/a b"]), name) == f"{home}/a b"
            (home / "c.yaml").write_text(f"{name}: ~/x\n")
            assert getattr(made().parse_args(["--config=~/c.yaml"]), name) == f"{home}/x"


def test_every_option_that_reads_like_a_path_is_one():
    for made in PARSERS.values():
        for name, value in flags(made()).items():
            if re.search(r"_path$|_dir$|^(teacher|export|file_name|validate|xla_cache|encoder_weights)$", name):
                assert value in PLACES, name


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("folds/fold_0", "folds/fold_0"),
        ("folds/fold_0/", "folds/fold_0/"),
        ("a/~/b", "a/~/b"),
        ("./~", "./~"),
        ("~", "{home}"),
        ("~/l", "{home}/l"),
        ("~root", os.path.expanduser("~root")),
        (".", "{here}"),
        ("./", "{here}"),
        ("..", "{above}"),
        ("folds/..", "{here}"),
        ("link/..", "{home}"),  # where the system goes, too
        ("/", "/"),
    ],
)
def test_paths_by_hand(home, tmp_path, text, path):
    here = tmp_path / "here"
    (here / "folds").mkdir(parents=True)
    (home / "real").mkdir()
    (here / "link").symlink_to(home / "real")
    with contextlib.chdir(here):
        assert place(text) == path.format(home=home, here=here, above=tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no path is given"),
        ("~nobody-of-this-name/l", "there is no home '~nobody-of-this-name'; write ./~nobody-of-this-name/l"),
        ("a\0b", "is no name in UTF-8"),
        ("S\udce4lze", r"'S\udce4lze' is no name in UTF-8; rename it"),
    ],
)
def test_what_is_no_path(text, said):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(said)):
        place(text)


@pytest.mark.usefixtures("eager")
def test_a_fold_is_named_by_where_one_is(folds, workspace, sample):
    for path in (".", "./", "../fold_0", "train/.."):
        with contextlib.chdir(folds / "fold_0"):
            assert read_fold(path).name == "fold_0"
            assert [fold.name for fold in list_folds(path)] == ["fold_0"]
    with contextlib.chdir(folds / "fold_0"):
        assert [fold.name for fold in list_folds("..")] == ["fold_0", "fold_1", "fold_2"]
    split = run_here(tgs_preprocess.main, f"--data_path={sample}", "--folds_path=mine", "--fold=3", cwd=workspace)
    assert split.returncode == 0, split.stderr
    outputs = (f"--weights_path={workspace}/weights", f"--log_dir={workspace}/logs")
    done = run_here(tgs_train.main, *SHORT, "--data_path=.", *outputs, cwd=workspace / "mine/fold_1")
    assert done.returncode == 0, done.stderr
    assert (workspace / "weights/tiny/fold_1_best.weights.h5").is_file()


@pytest.mark.usefixtures("eager")
def test_nothing_is_called_tilde_though_no_shell_has_expanded_it(home, workspace, sample):
    done = run_here(tgs_preprocess.main, f"--data_path={sample}", "--folds_path=~/f", "--fold=3", cwd=workspace)
    assert done.returncode == 0, done.stderr
    flags = ("--data_path=~/f/fold_0", "--log_dir=~/l", "--weights_path=~/w")
    done = run_here(tgs_train.main, *SHORT, *flags, cwd=workspace)
    assert done.returncode == 0, done.stderr
    flags = ("--file_name=~/w/tiny/fold_0_best.weights.h5", f"--data_path={sample}", "--submission_path=~/s")
    done = run_here(tgs_predict.main, *flags, cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in home.iterdir()} == {"f", "l", "w", "s"}
    assert not (workspace / "~").exists()


def test_sample_data_in_the_home(home, tmp_path):
    few = ("--n_train=4", "--n_test=1", "--path=~/tgs", "--sheet=~/sheet.png")
    done = run_here(sample.main, *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in home.iterdir()} == {"tgs", "sheet.png"}
    said = error_line(run_here(sample.main, "--sheet=..", "--n_train=4", "--n_test=1", "--path=again", cwd=tmp_path))
    assert said.endswith(": Is a directory; what was there before is whole")
