"""The house's rules: who may import whom, and where tests lie. Each rule of `make lint` is broken, and bites."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import ROOT

PACKAGES = ("common", "data", "models", "training")
# What is planted: a file, an import at its end, and the contract that must break.
PLANTED = {
    "an import upwards": ("models/losses.py", "import training.schedule", "Imports run down only"),
    "data's of training": ("data/rle.py", "from training.schedule import make_schedule", "Imports run down only"),
    "a circle of two": ("data/rle.py", "import data.submission", "No circles among siblings"),
    "a circle in a function": ("common/errors.py", "def f():\n    import common.files", "No circles among siblings"),
    "TensorFlow in data": ("data/tiles.py", "import tensorflow as tf", "Data and common know no TensorFlow"),
    "Keras in common": ("common/files.py", "from keras import layers", "Data and common know no TensorFlow"),
    "TensorFlow behind a door": ("data/tiles.py", "import common.ring.single", "Data opens none of these doors"),
    "Horovod elsewhere": ("training/step.py", "import horovod.tensorflow", "Horovod is known to common.ring only"),
    "a command": ("models/ensemble.py", "from tgs_train import main", "Packages never import a command"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The packages, the commands and the rules, to plant imports in."""
    path = tmp_path_factory.mktemp("house")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, path / package, ignore=shutil.ignore_patterns("__pycache__", "tgs"))
    for file in ("pyproject.toml", *(script.name for script in ROOT.glob("tgs_*.py"))):
        shutil.copyfile(ROOT / file, path / file)
    return path


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the rules of `make lint` in `folder`."""
    program = Path(sys.executable).parent / "lint-imports"
    return subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_the_house_keeps_its_rules(copy):
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(("file", "planted", "broken"), PLANTED.values(), ids=PLANTED)
def test_a_planted_import_is_found(copy, file, planted, broken):
    before = (copy / file).read_text()
    try:
        (copy / file).write_text(f"{before}\n\n{planted}\n")
        done = lint(copy)
    finally:
        (copy / file).write_text(before)
    assert done.returncode == 1
    assert any(rule.startswith(broken) for rule in re.findall(r"^(.+) BROKEN", done.stdout, re.M)), done.stdout


def test_tests_mirror_the_packages():
    """Each folder of tests is one of the project's, or holds what is promised, or helpers."""
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    others = {Path("promises"), Path("scripts")}
    assert not {folder for folder in folders if folder not in others and not (ROOT / folder).is_dir()}
    assert {Path(package) for package in PACKAGES} | others <= folders
