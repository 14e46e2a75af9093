"""The command that a run names for what comes next: one that a shell takes as it is."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from common.flags import command_line
from tests.helpers.commands import ROOT

ODD = ["my folds/fold_0", "a'b", 'say "x"', "$HOME", "100%;#!", "Salz ü", "-x", "~/folds", "a\\b", "*"]


@pytest.mark.parametrize("path", ODD)
def test_a_shell_gives_the_flags_back(path, tmp_path):
    with contextlib.chdir(tmp_path):
        python, script, *rest = shlex.split(command_line("tgs_train.py", data_path=path, hvd=True, teacher=None))
    assert rest == [f"--data_path={path}", "--hvd=True"]
    assert (Path(python), Path(script)) == (Path(sys.executable), ROOT / "tgs_train.py")
    said = f"-c {shlex.quote('import json, sys; print(json.dumps(sys.argv[1:]))')}"
    with contextlib.chdir(tmp_path):
        line = command_line("tgs_train.py", data_path=path).replace(str(ROOT / "tgs_train.py"), said)
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == json.dumps([f"--data_path={path}"]) + "\n"


def test_python_is_called_so_where_a_shell_finds_it(monkeypatch):
    beside = f"{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin"
    monkeypatch.setenv("PATH", beside)
    with contextlib.chdir(ROOT):
        assert command_line("tgs_predict.py", oof=True) == "python tgs_predict.py --oof=True"
    monkeypatch.setenv("PATH", "/nowhere")
    *_, venv, bin_, name = Path(sys.executable).parts
    with contextlib.chdir(Path(sys.executable).parents[2]):
        assert command_line("tgs_predict.py").split()[0] == f"{venv}/{bin_}/{name}"


def test_a_toolkit_in_a_folder_with_a_space(tmp_path, monkeypatch):
    toolkit = tmp_path / "my tools"
    (toolkit / "common").mkdir(parents=True)
    monkeypatch.setattr("common.flags.__file__", str(toolkit / "common/flags.py"))
    with contextlib.chdir(tmp_path):
        assert shlex.split(command_line("tgs_train.py"))[1] == "my tools/tgs_train.py"
    with contextlib.chdir("/"):
        assert shlex.split(command_line("tgs_train.py"))[1] == str((toolkit / "tgs_train.py").relative_to("/"))
