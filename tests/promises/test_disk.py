"""Full disks, read-only and vanished folders, files in the way: one line, and what was good before still is."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

import tgs_predict
import tgs_preprocess
import tgs_train
from data import tiles
from data.folds.fold import list_folds
from models import make_model
from models.weights import load_model
from tests.helpers.commands import error_line, refused, run_here
from tests.helpers.disks import KB, Disk, Run, files_up_to
from tests.helpers.privileges import as_ordinary_user
from tests.helpers.training import TINY
from training.outputs import Outputs

FOLD = (*TINY, "--data_path=folds/fold_0")
pytestmark = pytest.mark.usefixtures("devices_listed")


# ---- a full disk -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return make_model("tiny", 32)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """32 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small disk is refused: {mounted.stderr.decode().strip()}")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_at_any_byte_of_an_epoch(disk, model, tmp_path, capfd):
    """Epoch 3 is the best one; whatever of it is not written, what it had not yet replaced is whole."""
    at = Run(disk.path / "weights", tmp_path / "logs", model, scores=(0.2, 0.1))
    state = (at.weights / "fold_0_state/state.npz").stat().st_size
    page = 4 * KB
    weights = -(-(at.weights / "fold_0_last.weights.h5").stat().st_size // page) * page
    reached = []
    for free in (0, weights // 2, weights, weights + page, weights + state // 4):
        shutil.rmtree(at.weights)
        at = Run(disk.path / "weights", tmp_path / "logs", model, scores=(0.2, 0.1))
        disk.leave(free)
        said = refused(lambda run=at: run.save(0.3), ": No space left on device; what was there before is whole")
        reached.append(re.search(r"^cannot write \S+/(fold_0_best\.\S+|state.npz): ", said)[1])
        assert at.found() == ((1, 2, 2) if "best" in reached[-1] else (3, 3, 2))
        at.assert_no_temporary()
        disk.filling.unlink()
    assert reached == ["fold_0_best.weights.h5"] * 2 + ["fold_0_best.json"] + ["state.npz"] * 2
    assert capfd.readouterr().err == ""


def test_a_full_disk_of_logs_costs_no_epoch(disk, model, tmp_path, capfd):
    def warnings() -> list[str]:  # less TensorFlow's own messages, which the command keeps back
        return [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]

    at = Run(tmp_path / "weights", disk.path / "logs", model, scores=(0.2, 0.1))
    disk.leave(0)
    at.save(0.3)
    assert at.found() == (3, 3, 3)
    full, history = "No space left on device", disk.path / "logs/history.csv"
    assert warnings() == [
        f"warning: cannot write {history}: {full}; what was there before is whole; the training goes on",
        f"warning: cannot write {disk.path}/logs/events.out.*: {full}; the training goes on",
    ]
    assert history.read_text().count("\n") == 3
    disk.leave(24 * KB)  # enough for that, not for TensorBoard's events
    at.save(0.4)
    assert len(warnings()) == 1
    assert history.read_text().count("\n") == 5
    disk.filling.unlink()
    at.save(0.5)
    assert warnings() == []
    assert at.found() == (5, 5, 5)


def test_a_limit_to_the_size_of_files(tmp_path, model, capfd):
    at = Run(tmp_path / "weights", tmp_path / "logs", model, scores=(0.2, 0.1))
    weights = (at.weights / "fold_0_last.weights.h5").stat().st_size
    for limit, name in ((weights - 1, "fold_0_best.weights.h5"), (0, "fold_0_best.weights.h5"), (weights, "state.npz")):
        with files_up_to(limit):
            refused(
                lambda: at.save(0.3 + at.progress.epoch / 100),
                f"{name}: File too large; what was there before is whole",
            )
        at.assert_no_temporary()
        assert at.found()[2] == 2
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_training_on_a_full_disk_says_one_line_and_goes_on_when_there_is_room(workspace, disk, capfd):
    """The command itself; TensorFlow, HDF5 and TensorBoard say nothing of their own."""
    flags = (*FOLD, "--epochs=2", f"--weights_path={disk.path}/weights", f"--log_dir={disk.path}/logs")
    disk.leave(6 * 1024 * KB)
    said = error_line(run_here(tgs_train.main, *flags, cwd=workspace))
    assert said.startswith(f"cannot write {disk.path}/weights/tiny/fold_0_state/state.npz: No space left on device")
    for pick in ("best", "last"):
        assert load_model(disk.path / f"weights/tiny/fold_0_{pick}.weights.h5")[1].epoch == 1
    disk.filling.unlink()
    assert run_here(tgs_train.main, *flags, cwd=workspace).returncode == 0
    assert load_model(disk.path / "weights/tiny/fold_0_last.weights.h5")[1].epoch == 2
    assert capfd.readouterr().err == ""


def test_preprocessing_on_a_full_disk_keeps_the_folds_that_are_there(sample, disk, capfd):
    flags = (f"--data_path={sample}", f"--folds_path={disk.path}/folds")
    assert run_here(tgs_preprocess.main, *flags, "--fold=3", cwd=disk.path).returncode == 0
    before = sorted(disk.path.rglob("*"))
    disk.leave(16 * KB)
    said = error_line(run_here(tgs_preprocess.main, *flags, "--fold=4", "--copy=True", cwd=disk.path))
    assert "No space left on device" in said
    disk.filling.unlink()
    assert sorted(disk.path.rglob("*")) == before
    assert len(list_folds(disk.path / "folds")) == 3
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_predictions_on_a_full_disk_leave_nothing(trained, workspace, disk, capfd):
    shutil.copytree(trained / "weights", disk.path / "weights")
    flags = ("--model=tiny", f"--weights_path={disk.path}/weights", "--data_path=tgs", "--threshold=0.3")
    out = f"--submission_path={disk.path}/submission"
    for job, place in (
        (("--use_folds", out), "submission/submission_tiny_"),
        (("--oof",), "weights/tiny/oof_best.csv"),
    ):
        before = sorted(path for path in disk.path.rglob("*") if path.is_file())
        disk.leave(0)
        said = error_line(run_here(tgs_predict.main, *flags, *job, cwd=workspace))
        assert said.startswith(f"cannot write {disk.path}/{place}")
        assert ": No space left on device; " in said
        disk.filling.unlink()
        assert sorted(path for path in disk.path.rglob("*") if path.is_file()) == before
        assert run_here(tgs_predict.main, *flags, *job, cwd=workspace).returncode == 0
    assert capfd.readouterr().err == ""


# ---- read-only folders, and files in the way -----------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        (tgs_train.main, *FOLD, "--epochs=3", "--weights_path"),
        (tgs_train.main, *FOLD, "--epochs=3", "--weights_path=new", "--log_dir"),
        (tgs_preprocess.main, "--data_path=tgs", "--fold=3", "--folds_path"),
        (tgs_predict.main, "--use_folds", "--model=tiny", "--data_path=tgs", "--submission_path"),
    ],
)
def test_a_read_only_folder_or_a_file_in_the_way(trained, workspace, command, capfd):
    *command, place = command
    (workspace / "weights").symlink_to(trained / "weights")
    (workspace / "locked").mkdir(mode=0o555)
    (workspace / "file").write_text("mine")
    before = sorted(workspace.rglob("*"))
    with as_ordinary_user():
        said = error_line(run_here(*command, f"{place}=locked", cwd=workspace))
    assert "Permission denied" in said
    assert "locked" in said
    assert "cannot create the folder file" in error_line(run_here(*command, f"{place}=file", cwd=workspace))
    assert (workspace / "file").read_text() == "mine"
    assert [path for path in sorted(workspace.rglob("*")) if path.relative_to(workspace).parts[0] != "new"] == before
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("eager")
def test_evaluation_into_a_read_only_folder(trained, workspace):
    shutil.copytree(trained / "weights", workspace / "weights")
    (workspace / "weights/tiny").chmod(0o555)
    with as_ordinary_user():
        said = error_line(run_here(tgs_predict.main, "--oof", "--model=tiny", cwd=workspace))
    assert said == "cannot write weights/tiny/oof_best.csv: Permission denied; what was there before is whole"
    (workspace / "weights/tiny").chmod(0o755)


# ---- folders that vanish, or are closed ----------------------------------------------------------------------


@pytest.fixture
def at_epoch(monkeypatch):
    """Call at_epoch(n, do): `do()` happens as the n-th epoch's results are about to be written."""

    def arrange(number: int, do) -> None:
        save, left = Outputs.save, number

        def after(self, *args, **kwargs) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                do()
            save(self, *args, **kwargs)

        monkeypatch.setattr(Outputs, "save", after)

    return arrange


@pytest.mark.slow
def test_weights_that_become_read_only_between_two_epochs_stay(workspace, at_epoch):
    weights = workspace / "weights/tiny"
    at_epoch(2, lambda: weights.chmod(0o555))
    with as_ordinary_user():
        said = error_line(run_here(tgs_train.main, *FOLD, "--epochs=3", cwd=workspace))
    weights.chmod(0o755)
    assert re.fullmatch(
        r"cannot write weights/tiny/fold_0_\S+: Permission denied; what was there before is whole", said
    )
    for pick in ("best", "last"):
        assert load_model(weights / f"fold_0_{pick}.weights.h5")[1].epoch == 1


@pytest.mark.usefixtures("eager")
def test_the_next_fold_vanishes_while_one_is_trained(workspace, folds, at_epoch):
    (workspace / "folds").unlink()
    shutil.copytree(folds, workspace / "folds")
    at_epoch(1, lambda: shutil.rmtree(workspace / "folds"))
    done = run_here(tgs_train.main, *TINY, "--data_path=folds", "--epochs=1", cwd=workspace)
    assert error_line(done) == "no folds/folds.csv; run tgs_preprocess.py (again, if it was interrupted)"
    assert "fold_0: best score" in done.stdout
    assert load_model(workspace / "weights/tiny/fold_0_last.weights.h5")[1].epoch == 1
    assert not list((workspace / "weights/tiny").glob("fold_1*"))


@pytest.mark.slow
def test_the_weights_vanish_while_they_are_trained(workspace, at_epoch):
    """No new folder is made: it would lack the best weights, and what was moved away would go on elsewhere."""
    at_epoch(2, lambda: (workspace / "weights").rename(workspace / "moved"))
    said = error_line(run_here(tgs_train.main, *FOLD, "--epochs=2", cwd=workspace))
    assert said.startswith("cannot write weights/tiny/fold_0_")
    assert said.endswith(": No such file or directory; there is no folder weights/tiny")
    assert not (workspace / "weights").exists()
    for pick in ("best", "last"):
        assert load_model(workspace / f"moved/tiny/fold_0_{pick}.weights.h5")[1].epoch == 1


@pytest.mark.usefixtures("eager")
def test_the_tiles_vanish_while_they_are_predicted(trained, workspace, sample, monkeypatch):
    """They are read one batch ahead: the second batch is there, the third is not."""
    shutil.copytree(sample / "test/images", workspace / "tiles")
    read, calls = tiles.read_images, []

    def read_images(paths: list[Path]) -> np.ndarray:
        calls.append(paths)
        if len(calls) == 3:
            shutil.rmtree(workspace / "tiles")
        return read(paths)

    monkeypatch.setattr(tiles, "read_images", read_images)
    flags = ("--use_folds", "--model=tiny", f"--weights_path={trained}/weights", "--data_path=tiles", "--batch_size=4")
    said = error_line(run_here(tgs_predict.main, *flags, cwd=workspace))
    assert said == f"cannot read {calls[2][0]}: No such file or directory"
    assert not (workspace / "submission").exists()
