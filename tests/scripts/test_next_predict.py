"""What tgs_predict.py names for what comes next is pasted into a shell, in the folder of the run, and works."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tgs_predict
from tests.helpers import pasting
from tests.helpers.commands import next_command, run_here

pytestmark = pytest.mark.usefixtures("eager")
ODD = "it's $HOME; #1"


@pytest.fixture
def odd(trained, tmp_path) -> Path:
    """The trained project with its data, folds, weights and submissions in folders whose names a shell would change."""
    shutil.copytree(trained, tmp_path / "project", symlinks=True)
    (tmp_path / "project" / ODD).mkdir()
    for name in ("tgs", "folds", "weights"):
        (tmp_path / "project" / name).rename(tmp_path / "project" / ODD / name)
    for link in (tmp_path / "project" / ODD / "folds").rglob("*.png"):
        if link.is_symlink():
            assert link.exists()  # relative, and moved with what they lead to
    return tmp_path / "project"


def said(cwd: Path, *flags: str) -> str:
    done = run_here(tgs_predict.main, *flags, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def paste(said: str, cwd: Path) -> str:
    """Run what is named next as a shell takes it; returns what it printed."""
    return pasting.paste(next_command(said), cwd)


@pytest.mark.parametrize("tiles", ["tgs", "tgs/test/images", "zips", "zips/test.zip"])
def test_a_submission_is_checked_next(odd, tiles):
    (odd / ODD / "zips").mkdir()
    shutil.make_archive(str(odd / ODD / "zips/test"), "zip", odd / ODD / "tgs/test")
    places = (f"--weights_path={ODD}/weights", f"--submission_path={ODD}/out", f"--data_path={ODD}/{tiles}")
    printed = said(odd, "--use_folds=True", "--model=tiny", *places)
    assert "is valid: 12 rows" in paste(printed, odd)
    assert shlex.split(next_command(printed))[2].startswith(f"--validate={ODD}/out/submission_")


def test_a_score_is_followed_by_a_submission(odd):
    places = (f"--weights_path={ODD}/weights", f"--folds_path={ODD}/folds")
    printed = said(odd, "--oof=True", "--model=tiny", *places, "--allow_missing=True", "--pick=last")
    (odd / "data").mkdir()
    shutil.move(odd / ODD / "tgs", odd / "data/tgs")
    assert "12 tiles, " in paste(printed, odd)
    assert (odd / "submission").is_dir()


def test_a_valid_submission_is_handed_in_from_where_it_is(odd):
    places = (f"--weights_path={ODD}/weights", f"--submission_path={ODD}/out", f"--data_path={ODD}/tgs")
    said(odd, "--use_folds=True", "--model=tiny", *places)
    (file,) = (odd / ODD / "out").glob("*.csv")
    printed = said(odd, f"--validate={file.relative_to(odd)}", f"--data_path={ODD}/tgs")
    words = shlex.split(next_command(printed))
    assert words[:2] == ["kaggle", "competitions"]
    assert (odd / words[words.index("-f") + 1]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sal't.onnx", "a salt"])
def test_an_exported_network_is_run_in_python(odd, name):
    printed = said(odd, "--use_folds=True", "--model=tiny", f"--weights_path={ODD}/weights", f"--export={ODD}/{name}")
    (line,) = [line for line in printed.splitlines() if line.startswith("next, in Python: ")]
    np.save(odd / "tiles.npy", np.zeros((2, 101, 101), np.uint8))
    program = "import numpy, onnxruntime, tensorflow as tf; tiles = numpy.load('tiles.npy')\n"
    program += line.removeprefix("next, in Python: ")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=odd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
