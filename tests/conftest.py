"""Data and weights that many tests share: made once a run, by the first worker that asks, never changed by a test."""

import os
import shutil
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from data.synthetic.tiles import make_sample
from tests.helpers.commands import run_script

# Property tests: a busy machine is no failure, and every run tries the same cases.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

LONG_FIRST = ("common", "promises", "scripts")  # what takes longest begins, so that both workers end together


def pytest_configure() -> None:
    """Set what the programs under test inherit from here.

    They heed again what a shell lets its background jobs ignore. Ranks that wait for another leave the cores to it, and
    to the tests beside them: rings take two thirds of the time so.
    """
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that take longest first."""

    def place(item: pytest.Item) -> int:
        folder = item.nodeid.split("/")[1]
        return LONG_FIRST.index(folder) if folder in LONG_FIRST else len(LONG_FIRST)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def same_start() -> None:
    """Give networks that a test makes the same first weights in every run.

    Left to chance, about one in sixty small networks has a layer whose ReLUs never fire, and so no gradient.
    """
    if keras := sys.modules.get("keras"):  # not imported here: most tests of commands need none in their own process
        keras.utils.set_random_seed(1)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """once(name, make): the folder `name` of this run, which `make(folder)` fills for whichever worker is first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def sample(once) -> Path:
    """A generated data set of 60 labelled and 12 test tiles in Kaggle's layout."""
    return once("data", lambda path: make_sample(path / "tgs", n_train=60, n_test=12, seed=3)) / "tgs"


@pytest.fixture(scope="session")
def folds(once, sample: Path) -> Path:
    """Three folds of `sample`, written by tgs_preprocess.py; to change them, copy them with what they link to."""

    def split(path: Path) -> None:
        done = run_script("tgs_preprocess.py", f"--data_path={sample}", "--fold=3", cwd=path)
        assert done.returncode == 0, done.stderr

    return once("preprocessed", split) / "folds"


@pytest.fixture(scope="session")
def devices_listed() -> None:
    """For tests of what is written to stderr: where there is no GPU driver, TensorFlow complains of it, once."""
    import tensorflow as tf

    tf.config.list_physical_devices()


@pytest.fixture
def eager() -> Iterator[None]:
    """Compile nothing: a run of a few steps takes less than tracing them."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def real_data(once) -> Path:
    """The competition's labelled tiles, unpacked: train/images, train/masks, train.csv and depths.csv."""
    source = Path(os.environ.get("TGS_DATA", ""))
    if not (os.environ.get("TGS_DATA") and (source / "train.zip").is_file()):
        pytest.skip("TGS_DATA names no folder with the competition's train.zip")

    def unpack(path: Path) -> None:
        with zipfile.ZipFile(source / "train.zip") as archive:
            archive.extractall(path / "train")
        for name in ("train.csv", "depths.csv"):
            shutil.copyfile(source / name, path / name)

    return once("real", unpack)


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
def trained(once, sample: Path, folds: Path) -> Path:
    """A project in which tgs_train.py trained the tiny model on every fold for two epochs at 32 px."""
    from tests.helpers.training import TINY  # here: the process that hands tests to workers needs no TensorFlow

    def train(path: Path) -> None:
        _project(path, sample, folds)
        done = run_script("tgs_train.py", "--data_path=folds", *TINY, "--epochs=2", cwd=path)
        assert done.returncode == 0, done.stderr

    return once("trained", train)


@pytest.fixture
def taught(workspace: Path, trained: Path) -> Path:
    """A project with the weights of an earlier round of three folds in round0/, to be changed."""
    shutil.copytree(trained / "weights", workspace / "round0", ignore=shutil.ignore_patterns("*_state", "*.png"))
    return workspace
