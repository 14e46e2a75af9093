"""Data that many tests share; made once a session, never changed by a test."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import settings

from data.sample import make_sample
from tests.helpers.commands import run_script

# Property tests: a busy machine is no failure, and every run tries the same cases.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated data set of 60 labelled and 12 test tiles in Kaggle's layout."""
    path = tmp_path_factory.mktemp("data") / "tgs"
    make_sample(path, n_train=60, n_test=12, seed=3)
    return path


@pytest.fixture(scope="session")
def folds(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folds of `sample`, written by tgs_preprocess.py."""
    cwd = tmp_path_factory.mktemp("preprocessed")
    done = run_script("tgs_preprocess.py", f"--data_path={sample}", "--fold=3", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "folds"


@pytest.fixture(scope="session")
def devices_listed() -> None:
    """For tests of what is written to stderr: where there is no GPU driver, TensorFlow complains of it, once."""
    import tensorflow as tf

    tf.config.list_physical_devices()


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The competition's labelled tiles, unpacked: train/images, train/masks, train.csv and depths.csv."""
    source = Path(os.environ.get("TGS_DATA", ""))
    if not (os.environ.get("TGS_DATA") and (source / "train.zip").is_file()):
        pytest.skip("TGS_DATA names no folder with the competition's train.zip")
    path = tmp_path_factory.mktemp("real")
    with zipfile.ZipFile(source / "train.zip") as archive:
        archive.extractall(path / "train")
    for name in ("train.csv", "depths.csv"):
        shutil.copyfile(source / name, path / name)
    return path


def _project(path: Path, sample: Path, folds: Path) -> Path:
    """A folder as a user has it after preprocessing: tgs/ and folds/."""
    (path / "tgs").symlink_to(sample)
    (path / "folds").symlink_to(folds)
    return path


@pytest.fixture
def workspace(tmp_path: Path, sample: Path, folds: Path) -> Path:
    """A project of its own for a test that trains: tgs/ and folds/, no weights yet."""
    return _project(tmp_path, sample, folds)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, sample: Path, folds: Path) -> Path:
    """A project in which tgs_train.py trained the tiny model on every fold for two epochs at 32 px."""
    path = _project(tmp_path_factory.mktemp("trained"), sample, folds)
    flags = ("--model=tiny", "--target_size=32", "--batch_size=8", "--epochs=2")
    done = run_script("tgs_train.py", "--data_path=folds", *flags, cwd=path, timeout=300)
    assert done.returncode == 0, done.stderr
    return path
