"""The tree of links that tgs_preprocess.py writes: moving it, rerunning over it, and what it never deletes."""

import os
import shutil
from pathlib import Path

import pytest

from common.errors import InputError
from data.folds import tree as fold_tree
from data.folds.fold import list_folds, read_fold
from data.folds.split import TGSDatasetPreprocessor
from data.synthetic.tiles import make_sample
from tests.helpers.commands import refused, run_script


def snapshot(path: Path) -> dict[str, object]:
    """All that lies under a folder: links by their target, files by content and time."""
    return {
        str(p.relative_to(path)): os.readlink(p)
        if p.is_symlink()
        else p.is_file() and (p.read_bytes(), p.stat().st_mtime)
        for p in path.rglob("*")
    }


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few tiles, since these tests write many trees: 18, six to a fold."""
    path = tmp_path_factory.mktemp("few") / "tgs"
    make_sample(path, n_train=18, n_test=1, seed=3)
    return path


def preprocess(sample: Path, cwd: Path, n_folds: int = 3, **options) -> Path:
    """Split `sample`, without the figure; returns the folds folder."""
    TGSDatasetPreprocessor(sample, cwd / "folds", n_folds=n_folds, **options).run()
    return cwd / "folds"


# ---- the tree ----------------------------------------------------------------------------------------------


def test_links_are_relative_and_survive_moving_the_project(sample, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(sample, project / "data/tgs")
    done = run_script("tgs_preprocess.py", "--fold=3", cwd=project)
    assert done.returncode == 0, done.stderr
    project.rename(tmp_path / "deeper").rename(tmp_path / "elsewhere")
    (tmp_path / "a/b").mkdir(parents=True)
    moved = (tmp_path / "elsewhere").rename(tmp_path / "a/b/c")
    links = list((moved / "folds").glob("fold_*/*/*/*.png"))
    assert len(links) == 3 * 18 * 2
    for link in links:
        kind = link.parent.name
        assert os.readlink(link) == f"../../../../data/tgs/train/{kind}/{link.name}"
        assert link.resolve() == moved / "data/tgs/train" / kind / link.name
        assert link.is_file()
    assert len(read_fold(moved / "folds/fold_0").train) == 12


def test_links_lead_through_a_linked_data_folder_and_into_a_linked_folds_folder(sample, tmp_path):
    (tmp_path / "project/data").mkdir(parents=True)
    (tmp_path / "project/data/tgs").symlink_to(sample)
    assert run_script("tgs_preprocess.py", "--fold=2", cwd=tmp_path / "project").returncode == 0
    (tmp_path / "deep/er").mkdir(parents=True)
    moved = (tmp_path / "project").rename(tmp_path / "deep/er/project")
    assert len(read_fold(moved / "folds/fold_1").val) == 9
    (tmp_path / "disk/of/folds").mkdir(parents=True)
    (tmp_path / "folds").symlink_to(tmp_path / "disk/of/folds")
    assert len(read_fold(preprocess(sample, tmp_path, 2) / "fold_0").val) == 9


# ---- reruns ------------------------------------------------------------------------------------------------


def test_a_rerun_leaves_no_stale_fold_and_no_file_of_the_user_goes(sample, tmp_path):
    path = preprocess(sample, tmp_path, 4)
    (path / "notes.txt").write_text("mine")
    (path / "fold_notes").mkdir()
    (path / "fold_notes/x.png").write_text("mine")
    (path / ".new-idea").mkdir()
    (path / ".tgs_preprocess-killed").mkdir()  # by a kill -9, in the middle
    preprocess(sample, tmp_path)
    assert [p.name for p in list_folds(path)] == ["fold_0", "fold_1", "fold_2"]
    kept = {"notes.txt", "fold_notes", ".new-idea"}
    made = {"fold_0", "fold_1", "fold_2", "folds.csv"}
    assert {p.name for p in path.iterdir()} == kept | made
    assert (path / "fold_notes/x.png").read_text() == "mine"
    assert len(read_fold(path / "fold_0").val) == 6


def own_file(path: Path) -> Path:
    own = path / "fold_1/train/masks/own.png"
    own.write_text("mine")
    return own


def edited_mask(path: Path) -> Path:
    """An editor that saves by renaming has put a file where the link was."""
    own = next((path / "fold_0/val/masks").iterdir())
    data, times = own.read_bytes(), own.stat()
    own.unlink()
    own.write_bytes(data[:-1] + b"x")  # as long and as old as before
    os.utime(own, ns=(times.st_atime_ns, times.st_mtime_ns))
    return own


def own_link(path: Path) -> Path:
    own = path / "fold_0/train/images/own.png"
    own.symlink_to("../../../../../elsewhere.png")
    return own


def own_link_to_a_tile(path: Path) -> Path:
    own = next((path / "fold_0/train/images").iterdir())
    tile = own.resolve()
    own.unlink()
    own.symlink_to(tile.parents[2] / "backup/images" / tile.name)
    return own


def linked_images(path: Path) -> Path:
    own = path / "fold_1/val/images"
    own.rename(path / "moved")
    own.symlink_to(path / "moved")
    return own


def linked_folder(path: Path) -> Path:
    own = path / "fold_2/weights"
    own.symlink_to(path.parent)
    return own


def own_folder(path: Path) -> Path:
    (path / "fold_2/train/old").mkdir()
    return path / "fold_2/train/old"


def file_named_like_a_fold(path: Path) -> Path:
    (path / "fold_7").write_text("mine")
    return path / "fold_7"


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize(
    "put",
    [
        own_file,
        edited_mask,
        own_link,
        own_link_to_a_tile,
        linked_images,
        linked_folder,
        own_folder,
        file_named_like_a_fold,
    ],
    ids=lambda put: put.__name__,
)
def test_a_file_of_the_user_inside_a_fold_stops_the_run_and_all_stays(sample, tmp_path, put, copy):
    path = preprocess(sample, tmp_path, copy=copy)
    own = put(path)
    before = snapshot(path)
    said = refused(lambda: preprocess(sample, tmp_path, 2, copy=copy), f"{own} was not written by")
    assert "move it away" in said
    assert snapshot(path) == before
    shutil.rmtree(own) if own.is_dir() and not own.is_symlink() else own.unlink()
    assert len(list_folds(preprocess(sample, tmp_path, 2, copy=copy))) == 2


def test_copies_and_their_reruns(sample, tmp_path):
    path = preprocess(sample, tmp_path, copy=True)
    files = list(path.glob("fold_*/*/*/*.png"))
    assert len(files) == 108
    assert not any(p.is_symlink() for p in files)
    for p in files[::7]:
        assert p.read_bytes() == (sample / "train" / p.parent.name / p.name).read_bytes()
    (path / "folds.csv").unlink()  # interrupted between the steps
    linked = preprocess(sample, tmp_path, 2)
    assert all(p.is_symlink() for p in linked.glob("fold_*/*/*/*.png"))
    copied = preprocess(sample, tmp_path, copy=True)
    assert len(read_fold(copied / "fold_2").val) == 6


def test_without_symlinks_it_says_what_to_do_and_the_old_folds_stay(sample, tmp_path, monkeypatch):
    path = preprocess(sample, tmp_path)
    before = snapshot(path)
    for error in (PermissionError(1, "Operation not permitted"), OSError("no symlinks here")):

        def refuse(*_, error=error, **__):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(os, "symlink", refuse)
            said = refused(lambda: preprocess(sample, tmp_path, 2), error.strerror or str(error))
        assert "if this file system has no symlinks, add --copy=True" in said
        assert snapshot(path) == before


@pytest.mark.parametrize(
    ("step", "error"),
    [*((step, KeyboardInterrupt()) for step in range(6)), *((step, OSError(28, "No space left")) for step in (1, 4))],
)
def test_an_interruption_between_the_steps_cannot_pass_for_a_split(sample, tmp_path, monkeypatch, step, error):
    """Three folds give way to three others in six renames; whichever is not reached, nobody reads a mixture."""
    path = preprocess(sample, tmp_path, copy=True)
    rename, count = Path.rename, 0

    def stop(self: Path, target: Path) -> Path:
        nonlocal count
        if count == step:
            raise error
        count += 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stop)
        with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError):
            preprocess(sample, tmp_path, copy=True, seed=2)
    assert count == step
    assert not (path / "folds.csv").exists()
    assert not list(path.glob(f"{fold_tree.SCRATCH}*"))
    for k in range(3):
        refused(
            lambda k=k: read_fold(path / f"fold_{k}"), "folds.csv; run tgs_preprocess.py (again, if it was interrupted)"
        )
    preprocess(sample, tmp_path, copy=True)
    assert len(read_fold(path / "fold_2").val) == 6


def test_an_interruption_while_the_tree_is_built_leaves_the_old_folds(sample, tmp_path, monkeypatch):
    path = preprocess(sample, tmp_path)
    before = snapshot(path)
    copyfile, count = shutil.copyfile, 0

    def stop(*args) -> None:
        nonlocal count
        count += 1
        if count == 40:
            raise KeyboardInterrupt
        copyfile(*args)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", stop)
        with pytest.raises(KeyboardInterrupt):
            preprocess(sample, tmp_path, copy=True)
    assert snapshot(path) == before


def test_a_folder_in_the_way(sample, tmp_path):
    (tmp_path / "folds/folds.csv").mkdir(parents=True)
    refused(lambda: preprocess(sample, tmp_path), f"cannot write {tmp_path}/folds/folds.csv: ")
    (tmp_path / "file").write_text("mine")
    refused(lambda: preprocess(sample, tmp_path / "file"), f"cannot create the folder {tmp_path}/file/folds: ")
