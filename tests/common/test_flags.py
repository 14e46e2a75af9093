"""Every flag of the four scripts, out of its range, of the wrong kind, misspelt, and against another: one line each.

Taken from the parsers, so that a new flag is covered when it is made.
"""

import math
import re
from functools import partial

import pytest

import tgs_predict
import tgs_preprocess
import tgs_train
import tgs_train_ring
from common.flags import flag, place
from tests.helpers.commands import error_line, run_here
from tests.promises.corpus.damage import tree

SCRIPTS = {
    "preprocess": (tgs_preprocess.main, tgs_preprocess.parser()),
    "train": (tgs_train.main, tgs_train.parser(False)),
    "train_ring": (partial(tgs_train_ring.main, hvd=True), tgs_train.parser(True)),
    "predict": (tgs_predict.main, tgs_predict.parser()),
}
OPTIONS = [(script, action) for script, (_, parser) in SCRIPTS.items() for action in parser.options]
NUMBERS = [(script, action) for script, action in OPTIONS if action.type not in (None, flag, place)]
SEVERAL = ("small_epochs", "small_size")  # numbers with commas between them
BOOLEANS = [(script, action) for script, action in OPTIONS if action.type is flag]
CHOICES = [(script, action) for script, action in OPTIONS if action.choices]


def name(part: object) -> str:
    return part if isinstance(part, str) else getattr(part, "dest", "")


def said(tmp_path, script: str, *args: str) -> str:
    """The one line with which a script refuses these arguments, having written nothing."""
    done = run_here(SCRIPTS[script][0], *args, cwd=tmp_path)
    assert tree(tmp_path) == {}
    assert done.stdout == ""
    return error_line(done)


@pytest.mark.parametrize(("script", "action"), NUMBERS, ids=name)
def test_numbers_outside_their_range_and_what_is_no_number(tmp_path, script, action):
    option = action.option_strings[0]
    for text in ("-1" + "0" * 30, "1" + "0" * 30):
        line = said(tmp_path, script, f"{option}={text}")
        found = re.fullmatch(rf"argument {option}: {text} is outside (\S+) to (\S+) \(see \S+ --help\)", line)
        assert found, line
    low, high = (float(bound) for bound in found.groups())
    assert math.isfinite(high), "no upper bound"
    whole = "." not in found[1] and str(action.type(found[1])).isdecimal()
    for bound, step in ((low, -1), (high, 1)):
        action.type(str(int(bound) if whole else bound))  # the bound itself is accepted
        beyond = str(int(bound) + step) if whole else repr(math.nextafter(bound, step * math.inf))
        assert f"argument {option}: {beyond} is outside" in said(tmp_path, script, f"{option}={beyond}")
    comma = [] if action.dest in SEVERAL else ["1,5"]
    for text in ("", "many", *comma, "0x10", "1 2", *(["1.5", "1e3", "nan", "inf"] if whole else [])):
        assert said(tmp_path, script, f"{option}={text}").startswith(f"argument {option}: '{text}' is not a number")
    for text in () if whole else ("nan", "inf", "-inf"):
        assert f"argument {option}: {text} is outside" in said(tmp_path, script, f"{option}={text}")


@pytest.mark.parametrize(("script", "action"), BOOLEANS, ids=name)
def test_booleans_that_are_neither(tmp_path, script, action):
    option = action.option_strings[0]
    for text in ("", "maybe", "2", "Tru"):
        assert f"argument {option}: '{text}' is not True or False" in said(tmp_path, script, f"{option}={text}")


@pytest.mark.parametrize(("script", "action"), CHOICES, ids=name)
def test_choices_that_are_none(tmp_path, script, action):
    option = action.option_strings[0]
    assert f"argument {option}: invalid choice: 'neither'" in said(tmp_path, script, f"{option}=neither")


@pytest.mark.parametrize(("script", "action"), OPTIONS, ids=name)
def test_misspelt_flags_are_answered_with_a_suggestion(tmp_path, script, action):
    option = action.option_strings[0]
    doubled = option[:3] + option[2:]  # --fold: --ffold
    assert f"unknown argument '{doubled}=1'; did you mean {option}?" in said(tmp_path, script, f"{doubled}=1")
    if action.nargs != "?":
        assert f"argument {option}: expected one argument" in said(tmp_path, script, option)


JOBS = {"file_name": "x.weights.h5", "use_folds": "True", "oof": "True", "validate": "x.csv"}
PAIRS = [(f"--{a}={JOBS[a]}", f"--{b}={JOBS[b]}") for a in JOBS for b in JOBS if a < b]


@pytest.mark.parametrize(
    ("script", "args", "line"),
    [
        *(("predict", pair, "give exactly one of --file_name, --use_folds, --oof and --validate") for pair in PAIRS),
        ("predict", (), "give exactly one of"),
        ("predict", ("--use_folds=False",), "give exactly one of"),
        ("predict", ("--thresold=0.5",), "unknown argument '--thresold=0.5'; did you mean --threshold?"),
        ("predict", ("--min_area=10202",), "argument --min_area: 10202 is outside 0 to 10201"),
        ("predict", ("--threshold=1.01",), "argument --threshold: 1.01 is outside 0 to 1"),
        ("predict", ("--oof", "x.csv"), "argument --oof: 'x.csv' is not True or False"),
        ("preprocess", ("--fold=1",), "argument --fold: 1 is outside 2 to 100"),
        ("preprocess", ("--n_folds=5",), "unknown argument '--n_folds=5'"),
        ("preprocess", ("--stratify=colour",), "no stratification 'colour'; choose from coverage, depth"),
        ("preprocess", ("--group=mosaic", "--group=mosiac"), "argument --group: invalid choice: 'mosiac'"),
        ("preprocess", ("folds",), "unknown argument 'folds'"),
        ("preprocess", ("-h5",), "argument -h/--help: ignored explicit argument '5'"),
        ("train", ("--bach_size=8",), "unknown argument '--bach_size=8'; did you mean --batch_size?"),
        ("train", ("--learning_rate=0",), "argument --learning_rate: 0 is outside 1e-09 to 10"),
        ("train", ("--epochs", "--model=tiny"), "argument --epochs: expected one argument"),
        ("train_ring", ("--np=3",), "unknown argument '--np=3'"),
    ],
)
def test_by_hand(tmp_path, script, args, line):
    assert said(tmp_path, script, *args).startswith(line)
