"""File systems that lack an operation: done without where that is safe, said where it is not, and no message lies."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import lacking
from tests.helpers.commands import ROOT, command, error_line

FLAGS = ("--data_path=folds/fold_0", "--model=tiny", "--target_size=32", "--batch_size=8")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lacking.build(tmp_path_factory.mktemp("lacking"))


@pytest.fixture
def python(library, tmp_path):
    """Run lines of Python in a folder `disk` that lacks some operations; returns how that ended."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def call(code: str, **operations: str | int) -> subprocess.CompletedProcess[str]:
        program = f"import sys\nsys.path.append({str(ROOT)!r})\nfrom common import *\n{code}"
        env = os.environ | lacking.environment(library, disk, **operations)
        line = [sys.executable, "-c", program]
        return subprocess.run(line, cwd=disk, env=env, capture_output=True, text=True, check=False)

    return call


WRITE = "write_text('a.json', 'old'); write_text('a.json', 'new')\nprint(open('a.json').read())"


@pytest.mark.parametrize("error", ["EINVAL", "ENOTSUP", "ENOSYS", "EACCES"])
def test_folders_that_cannot_be_flushed(python, tmp_path, error):
    done = python(WRITE, fsync_folder=error)
    assert (done.returncode, done.stdout, done.stderr) == (0, "new\n", "")
    assert os.listdir(tmp_path / "disk") == ["a.json"]


def test_files_that_cannot_be_flushed(python):
    done = python(WRITE, fsync_file="EINVAL", fsync_folder="EINVAL")
    assert (done.returncode, done.stdout, done.stderr) == (0, "new\n", "")


def test_a_disk_that_fails_after_the_new_file_is_in_its_place_is_not_said_to_hold_the_old_one(python):
    code = "run(lambda: write_text('a.json', 'new'))"
    assert error_line(python(code, fsync_folder="EIO")) == (
        "cannot write a.json: Input/output error; the new file is in its place, but may not outlast a power cut"
    )
    assert python("print(open('a.json').read())").stdout == "new\n"
    said = error_line(python("run(lambda: write_text('b.json', 'new'))", fsync_file="EIO"))
    assert said == "cannot write b.json: Input/output error; what was there before is whole"


@pytest.mark.parametrize("error", ["EEXIST", "EPERM", "ENOSYS"])
def test_files_that_nothing_is_renamed_over(python, tmp_path, error):
    done = python(WRITE, rename_over=error)
    assert (done.returncode, done.stdout) == (0, "new\n")
    assert "on a file system that cannot rename over a file" in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path / "disk") == ["a.json"]


def test_a_file_in_the_way_when_a_run_was_killed_is_put_back(python, tmp_path):
    code = (
        "import os\nfrom common import files\nwrite_text('fold_0_last.json', 'old')\n"
        "rename = os.rename\n"
        "os.rename = lambda a, b: os._exit(9) if str(b) == 'fold_0_last.json' else rename(a, b)\n"
        "write_text('fold_0_last.json', 'new')"
    )
    assert python(code, rename_over="EPERM").returncode == 9
    assert not (tmp_path / "disk/fold_0_last.json").exists()
    done = python(
        "from common.files import remove_temporaries\nremove_temporaries('.', 'fold_0_')", rename_over="EPERM"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name: path.read_text() for path in (tmp_path / "disk").iterdir()} == {"fold_0_last.json": "old"}


@pytest.mark.parametrize("error", ["ENOLCK", "ENOTSUP", "ENOSYS"])
def test_folders_without_locks_are_said_to_be_open_to_others(python, error):
    done = python("with held('a'), held('a'):\n    print('both')", lock=error)
    assert (done.returncode, done.stdout) == (0, "both\n")
    assert done.stderr == "warning: a is on a file system without locks; let no other run write there\n"


def test_new_files_without_hard_links(python, tmp_path):
    code = "with replacing('a.csv', exclusive=True) as file:\n    file.write_text('x')"
    assert python(code, link="EPERM").returncode == 0
    done = python(code, link="EPERM")
    assert "FileExistsError" in done.stderr  # as with them; callers say which file, and what to do
    assert os.listdir(tmp_path / "disk") == ["a.csv"]


def test_names_that_are_long_already(python, tmp_path):
    """A temporary name is longer than the file's own, which the file system still allows."""
    name = "n" * 140 + ".json"
    done = python(f"write_text({name!r}, 'x')", longest=150)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(tmp_path / "disk") == [name]
    said = error_line(python("run(lambda: write_text('n' * 151, 'x'))", longest=150))
    assert said.endswith(": File name too long; what was there before is whole")


def test_names_that_differ_in_case_only(python, tmp_path):
    """Two tiles of such names would be one: found before anything is written."""
    code = "from pathlib import Path\nfrom common.files import check_names\n"
    code += "run(lambda: check_names(['a1', 'b', 'A1'], Path('.')))"
    assert error_line(python(code, fold=1)) == "the disk of . takes 'a1' and 'A1' for the same; rename one"
    assert python(code).returncode == 0
    assert os.listdir(tmp_path / "disk") == []


def test_sections_where_files_are_not_mapped_to_memory(python, tmp_path):
    np.save(tmp_path / "disk/section.npy", np.arange(40_000, dtype=np.float32).reshape(200, 200))
    code = "from data import read_section\nprint(read_section('section.npy').sum())"
    plain, other = python(code), python(code, map="ENODEV")
    assert (other.returncode, other.stderr) == (0, "")
    assert other.stdout == plain.stdout != ""


# ---- the commands ----------------------------------------------------------------------------------------------


@pytest.fixture
def project(library, workspace):
    """Run commands where everything is written to such a file system."""

    def call(name: str, *flags: object, **operations: str | int) -> subprocess.CompletedProcess[str]:
        env = os.environ | lacking.environment(library, workspace, **operations)
        line = command(name, *flags)
        return subprocess.run(line, cwd=workspace, env=env, capture_output=True, text=True, check=False)

    return call


POOR = {"fsync_folder": "EINVAL", "link": "EPERM", "lock": "ENOLCK", "tmpfile": "ENOTSUP", "map": "ENODEV"}


@pytest.mark.slow
def test_a_training_and_its_prediction_where_next_to_nothing_is_there(project, workspace):
    done = project("tgs_train.py", *FLAGS, "--epochs=1", **POOR)
    assert done.returncode == 0, done.stderr
    assert [line.split(" is on ")[0] for line in done.stderr.splitlines()] == [
        "warning: weights/tiny/fold_0_state",
        "warning: logs/tiny/fold_0",
    ]
    weights = "--file_name=weights/tiny/fold_0_best.weights.h5"
    done = project("tgs_predict.py", weights, "--data_path=tgs", "--probabilities=npy", **POOR)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((workspace / "submission").glob("*.csv"))) == 1


def test_folds_where_there_are_no_symlinks_and_names_are_folded(project, workspace, sample):
    flags = (f"--data_path={sample}", "--fold=3", "--folds_path=New")
    said = error_line(project("tgs_preprocess.py", *flags, symlink="EPERM", fold=1))
    assert said.endswith("Operation not permitted; if this file system has no symlinks, add --copy=True")
    done = project("tgs_preprocess.py", *flags, "--copy=True", symlink="EPERM", fold=1)
    assert (done.returncode, done.stderr) == (0, "")
    assert (workspace / "new/folds.csv").is_file()


def test_tiles_of_a_zip_that_such_a_disk_takes_for_one(project, workspace, sample):
    tile, mask = (next((sample / "train" / kind).glob("*.png")).read_bytes() for kind in ("images", "masks"))
    with zipfile.ZipFile(workspace / "train.zip", "w") as archive:
        for name in ("ab", "AB"):
            archive.writestr(f"images/{name}.png", tile)
            archive.writestr(f"masks/{name}.png", mask)
    said = error_line(project("tgs_preprocess.py", "--data_path=train.zip", fold=1))
    assert said.endswith("takes 'train/images/ab.png' and 'train/images/AB.png' for the same; rename one")
    assert not (workspace / "data").exists()
