"""Each command's line `next: ...` can be pasted into a shell and works, wherever the data, folds and weights lie."""

import shlex
import sys
from functools import partial

import pytest

import tgs_preprocess
import tgs_train
from tests.helpers.commands import run_here
from tests.helpers.pasting import paste as pasted

pytestmark = pytest.mark.usefixtures("eager")
SHORT = "--model=tiny --target_size=32 --batch_size=8 --epochs=1"
PLACES = {
    "with blanks, quotes and signs": {"data": "my d'a$HOME", "folds": "f & (2); #1", "weights": 'w*"x"'},
    "elsewhere": {"data": "../up/tgs", "folds": "../up/folds_sample", "weights": "../up/weights"},
    "usual": {"data": "data/tgs", "folds": "folds", "weights": "weights"},
    "with blanks": {"data": "My data", "folds": "my folds", "weights": "of mine/weights 1"},
}


def next_line(text: str) -> str:
    """The command that a run names, exactly one."""
    (line,) = [line.removeprefix("next: ") for line in text.splitlines() if line.startswith("next: ")]
    return line


@pytest.mark.parametrize(
    ("places", "in_processes"),
    [
        *(pytest.param(PLACES[name], False, id=name) for name in ("with blanks, quotes and signs", "usual")),
        *(pytest.param(PLACES[name], False, id=name, marks=pytest.mark.slow) for name in ("elsewhere", "with blanks")),
        pytest.param(PLACES["with blanks, quotes and signs"], True, id="in processes", marks=pytest.mark.slow),
    ],
)
def test_each_command_names_the_next_until_the_submission_is_valid(tmp_path, places, in_processes):
    """From sample data to a checked submission, typing nothing but what is printed, and how short the training is."""
    cwd = tmp_path / "here"
    cwd.mkdir()
    paste = partial(pasted, in_processes=in_processes)
    data, folds, weights = (places[kind] for kind in ("data", "folds", "weights"))
    sample = [sys.executable, "-m", "data.sample", f"--path={data}", "--n_train=20", "--n_test=4"]
    preprocess = next_line(paste(shlex.join(sample), cwd))
    train = next_line(paste(f"{preprocess} --fold=2 {shlex.quote(f'--folds_path={folds}')}", cwd))
    assert (cwd / folds / "fold_0").is_dir()
    flags = f"{SHORT} {shlex.quote(f'--weights_path={weights}')} --log_dir=logs"
    one_fold = next_line(paste(f"{train} {flags}", cwd))
    assert "_predict.py" in one_fold
    paste(one_fold, cwd)
    assert len(list((cwd / "submission").glob("*.csv"))) == 1
    out_of_fold = next_line(paste(f"{train.replace('fold_0', 'fold_1')} {flags}", cwd))
    assert "--oof=True" in out_of_fold
    predict = next_line(paste(out_of_fold, cwd))
    validate = next_line(paste(predict, cwd))
    program, *words = shlex.split(next_line(paste(validate, cwd)))
    assert program == "kaggle"  # Kaggle's own, which the toolkit does not bring
    assert (cwd / words[words.index("-f") + 1]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("folds", ["folds", "my folds"])
def test_all_folds_in_turn_and_cycles(tmp_path, sample, folds):
    (tmp_path / "t g s").symlink_to(sample)
    done = run_here(tgs_preprocess.main, "--data_path=t g s", f"--folds_path={folds}", "--fold=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    flags = ["--model=tiny", "--target_size=32", "--batch_size=8", "--epochs=2", "--cycles=2"]
    done = run_here(tgs_train.main, f"--data_path={folds}", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out_of_fold = next_line(done.stdout)
    assert "--pick=cycles" in out_of_fold
    predict = next_line(pasted(out_of_fold, tmp_path))
    assert "--pick=cycles" in predict
    assert " is valid: 12 rows" in pasted(next_line(pasted(predict, tmp_path)), tmp_path)


@pytest.mark.parametrize("name", ["survey.sgy", "my survey (1).sgy"])
def test_a_sample_survey_is_predicted_by_the_line_that_it_names(trained, tmp_path, name):
    (tmp_path / "weights").symlink_to(trained / "weights")
    made = [sys.executable, "-m", "data.sample", f"--survey={name}", "--survey_size=3x110x105"]
    line = next_line(pasted(shlex.join(made), tmp_path))
    pasted(f"{line} --model=tiny", tmp_path)
    assert list((tmp_path / "submission").glob("*_salt.sgy"))
