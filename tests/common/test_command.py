"""What the four commands share: strict flags, one line for wrong input, exit codes."""

import argparse
import gc
import importlib
import re
import subprocess
import sys

import pytest

from common.backend import missing, uncollected
from common.command import run
from common.errors import InputError
from common.flags import Parser, auto_or, flag, number, numbers
from tests.helpers.commands import ROOT


def parser() -> Parser:
    p = Parser("what it does")
    p.flag("copy", False, "copies")
    p.flag("tta", True, "mirrors")
    p.option("fold", 5, "folds", type=number(int, 2, 100))
    return p


@pytest.mark.parametrize(
    ("args", "copy"),
    [
        ([], False),
        (["--copy"], True),
        *(([f"--copy={text}"], True) for text in ("True", "true", "TRUE", "1", "yes", "Yes")),
        *(([f"--copy={text}"], False) for text in ("False", "false", "FALSE", "0", "no", "NO")),
        (["--copy", "False"], False),
        (["--copy", "--tta=False"], True),
    ],
)
def test_booleans(args, copy):
    assert parser().parse_args(args).copy is copy


@pytest.mark.parametrize("text", ["", "maybe", "2", "Tru", "on", "None", " True"])
def test_what_is_no_boolean(text):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(f"'{text}' is not True or False")):
        flag(text)


def test_numbers_within_bounds():
    parse = number(float, 0, 1)
    assert [parse(text) for text in ("0", "1", "0.25", "1e-3")] == [0, 1, 0.25, 0.001]
    assert isinstance(number(int, 1)("1000000"), int)
    for text in ("-0.1", "1.01", "nan", "inf", "-inf"):
        with pytest.raises(argparse.ArgumentTypeError, match="is outside 0 to 1"):
            parse(text)
    for text in ("1.5", "1e3", "", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number of type int"):
            number(int, 1)(text)
    assert [numbers(int, 1, 64)(text) for text in ("7", "07,64")] == ["7", "7,64"]
    for text, said in (("1,,2", "'' is not a number of type int"), ("0,2", "0 is outside 1 to 64")):
        with pytest.raises(argparse.ArgumentTypeError, match=said):
            numbers(int, 1, 64)(text)
    assert auto_or(parse)("auto") == "auto"
    assert auto_or(parse)("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError):
        auto_or(parse)("automatic")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--flod=3"], "unknown argument '--flod=3'; did you mean --fold?"),
        (["--fol=3"], "did you mean --fold?"),  # no abbreviations
        (["--zzzzzz"], "unknown argument '--zzzzzz' (see "),  # nothing is close
        (["extra"], "unknown argument 'extra' (see "),
        (["--fold=0"], "argument --fold: 0 is outside 2 to 100"),
        (["--copy=maybe"], "argument --copy: 'maybe' is not True or False"),
    ],
)
def test_wrong_flags_end_with_2_and_one_line(args, said, capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(args)
    written = capsys.readouterr()
    assert end.value.code == 2
    assert written.out == ""
    assert re.fullmatch(r"error: [^\n]*\n", written.err)
    assert said in written.err


def test_help_names_every_default(capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(["--help"])
    assert end.value.code == 0
    assert "folds (default: 5)" in capsys.readouterr().out


def test_wrong_input_is_one_line_whatever_a_file_is_called(capsys):
    def main():
        raise InputError("cannot read a\nb.png: gone")

    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: cannot read a b.png: gone\n"


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("pass", 0, r""),
        ("raise KeyboardInterrupt", 130, r"interrupted; [^\n]*\n"),
        ("1 / 0", 1, r"Traceback .*ZeroDivisionError: division by zero\n"),  # a defect of ours keeps its traceback
    ],
)
def test_exit_codes(body, code, said):
    program = f"from common.command import run\ndef main():\n    {body}\nrun(main)\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert re.fullmatch(said, done.stderr, re.DOTALL), done.stderr


def test_loading_goes_on_without_the_garbage_collector_and_leaves_it_on():
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == before


@pytest.mark.slow
def test_loading_leaves_out_what_keras_would_bring_for_nothing():
    code = """
import sys
from common.backend import UNUSED, load_tensorflow
load_tensorflow()
print([name for name in ("keras", *UNUSED) if name in sys.modules])
import matplotlib.pyplot
import scipy.sparse
import sklearn.model_selection
print([name for name in UNUSED if sys.modules[name]])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['keras']", "['sklearn', 'matplotlib', 'matplotlib.pyplot', 'scipy.sparse']"]


def test_only_what_is_not_there_yet_is_missing_meanwhile(tmp_path, monkeypatch):
    (tmp_path / "late_module.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with missing("late_module", "argparse"):
        assert importlib.import_module("argparse") is argparse
        with pytest.raises(ImportError):
            importlib.import_module("late_module")
    assert importlib.import_module("late_module") is sys.modules.pop("late_module")
