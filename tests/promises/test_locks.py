"""Files that appear whole or not at all, folders that one process holds, and races of real processes for both."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

import tgs_train
from common.files import read_json, remove_files, remove_temporaries, replacing, write_json, write_text
from common.locks import held
from data.submission import check_submission
from models import make_model
from models import weights as checkpoints
from models.weights import load_recipe, save_weights
from tests.helpers.commands import ROOT, command, error_line, names, refused, run_here
from tests.helpers.jobs import FLAGS, after_epochs, job
from tests.helpers.privileges import as_ordinary_user
from tests.helpers.training import RECIPE

# ---- replacing ---------------------------------------------------------------------------------------------


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "a.weights.h5"
    write_text(path, "old")
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".weights.h5")
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(path.parent) == {path.name}


@pytest.mark.parametrize("error", [ValueError("a defect"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    if isinstance(error, OSError):
        refused(write, f"cannot write {path}: No space left on device; what was there before is whole")
    else:
        with pytest.raises(type(error)):
            write()
    assert read_json(path) == {"a": 1}
    assert names(tmp_path) == {"a.json"}


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    said = refused(lambda: write_text(tmp_path / "file/a.txt", "x"), f"cannot write {tmp_path}/file/a.txt: Not a dir")
    assert said.endswith(f"; there is no folder {tmp_path}/file")
    (tmp_path / "folder/inside").mkdir(parents=True)
    refused(lambda: write_text(tmp_path / "folder", "x"), f"cannot write {tmp_path}/folder: Is a directory")
    assert names(tmp_path) == {"file", "folder"}
    (tmp_path / "folder").chmod(0o555)
    with as_ordinary_user():
        refused(lambda: write_text(tmp_path / "folder/a", "x"), f"cannot write {tmp_path}/folder/a: Permission denied")
    assert names(tmp_path / "folder") == {"inside"}


def test_exclusive_keeps_what_exists(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"

    def write(text: str) -> None:
        with replacing(path, exclusive=True) as temporary:
            temporary.write_text(text)

    write("first")
    for links in (True, False):
        if not links:  # as on FAT
            monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
        with pytest.raises(FileExistsError):
            write("second")
        assert path.read_text() == "first"
        assert names(tmp_path) == {"a.csv"}
    path.unlink()
    write("third")
    assert path.read_text() == "third"


def test_only_temporaries_of_that_name_are_removed(tmp_path):
    mine = (".7.fold_1_best.json", ".7.fold_1_last.weights.h5")
    others = (".7.fold_10_last.json", ".notes.fold_1_", ".fold_1_best.json", "fold_1_best.json", ".lock", ".7x.fold_1_")
    for name in (*mine, *others):
        (tmp_path / name).touch()
    (tmp_path / ".7.fold_1_network/inside").mkdir(parents=True)
    remove_temporaries(tmp_path, "fold_1_")
    assert names(tmp_path) == set(others)
    remove_temporaries(tmp_path)
    assert names(tmp_path) == set(others) - {".7.fold_10_last.json"}
    remove_temporaries(tmp_path / "none")


def test_files_of_a_pattern_are_removed_or_named(tmp_path):
    for name in ("fold_1_cycle1.json", "fold_1_cycle1.weights.h5", "fold_10_cycle1.json", "fold_1_best.json"):
        (tmp_path / name).touch()
    tmp_path.chmod(0o555)
    with as_ordinary_user():
        said = f"cannot remove {tmp_path}/fold_1_cycle1.weights.h5: Permission denied; remove it"
        refused(lambda: remove_files(tmp_path, "fold_1_cycle*"), said)
    tmp_path.chmod(0o755)
    remove_files(tmp_path, "fold_1_cycle*")
    assert names(tmp_path) == {"fold_10_cycle1.json", "fold_1_best.json"}


def test_a_reader_finds_weights_that_fit_their_recipe_while_others_are_written(tmp_path, monkeypatch):
    """As tgs_predict.py beside a training: between its reading of the recipe and of the weights both are replaced."""
    path, model = tmp_path / "fold_0_last.weights.h5", make_model("tiny", 32)
    save_weights(path, model, RECIPE)
    left = 2

    def read_slowly(file: Path) -> dict:
        nonlocal left
        found, left = read_json(file), left - 1
        if left >= 0:
            model.get_layer("logits").bias.assign([float(left)])
            with monkeypatch.context() as patch:
                patch.setattr(checkpoints, "read_json", read_json)
                save_weights(path, model, replace(RECIPE, epoch=3 - left))
        return found

    monkeypatch.setattr(checkpoints, "read_json", read_slowly)
    assert load_recipe(path).epoch == 3


def test_the_same_weights_to_several_paths(tmp_path):
    """As in a best epoch: each file with a recipe of its own."""
    paths, model = [tmp_path / f"fold_0_{pick}.weights.h5" for pick in ("best", "last")], make_model("tiny", 32)
    save_weights(paths, model, RECIPE)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [load_recipe(path).epoch for path in paths] == [RECIPE.epoch] * 2


# ---- held --------------------------------------------------------------------------------------------------


def test_a_folder_is_held_once_and_says_by_whom(tmp_path):
    with held(tmp_path / "a"):
        said = refused(lambda: held(tmp_path / "a").__enter__(), f"{tmp_path}/a is in use by process {os.getpid()} on ")
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; wait until that ends", said)
        with held(tmp_path / "b"):
            pass
    with held(tmp_path / "a"):
        pass
    assert names(tmp_path / "a") == set()


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path):
    program = "import sys, time\nfrom common.locks import held\nwith held(sys.argv[1]):\n    print('x', flush=True)\n"
    line = [sys.executable, "-c", program + "    time.sleep(60)", str(tmp_path)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        refused(lambda: held(tmp_path).__enter__(), f"in use by process {holder.pid} on ")
        holder.kill()
    assert (tmp_path / ".lock").read_text().startswith(f"process {holder.pid} on ")  # a stale one
    with held(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_folder_that_cannot_be_held_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(lambda: held(tmp_path / "file").__enter__(), f"cannot create the folder {tmp_path}/file")
    (tmp_path / "folder").mkdir(mode=0o555)
    with as_ordinary_user():
        refused(lambda: held(tmp_path / "folder").__enter__(), f"cannot write {tmp_path}/folder/.lock: Permission")


def race(job: str, folder: Path) -> list:
    """Let three processes of tests/helpers/races.py begin at the same moment; returns what each found."""
    line = [sys.executable, "-m", "tests.helpers.races", job, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(line, cwd=ROOT, **pipes) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for process in processes:
        process.stdin.write("begin\n")
        process.stdin.flush()
    return [json.loads(process.communicate()[0]) for process in processes]


def test_processes_never_hold_a_folder_together(tmp_path):
    results = race("hold", tmp_path)
    assert all(alone for _, alone in results)
    assert all(taken for taken, _ in results)
    assert names(tmp_path) == set()


# ---- the commands ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_training_of_a_fold_says_who_holds_it_and_a_stale_lock_is_none(workspace):
    with job(workspace, "--epochs=1000") as first:
        after_epochs(first, 1)
        os.kill(first.processes()[0], signal.SIGSTOP)  # it keeps what it holds, and writes nothing more
        before = {path: path.read_bytes() for path in workspace.rglob("weights/**/*") if path.is_file()}
        second = error_line(run_here(tgs_train.main, *FLAGS, "--epochs=1000", cwd=workspace))
        assert f"is in use by process {first.processes()[0]} on " in second
        other = error_line(run_here(tgs_train.main, *FLAGS, "--weights_path=other", cwd=workspace))
        assert "logs/tiny/fold_0 is in use by process" in other
        assert before == {path: path.read_bytes() for path in workspace.rglob("weights/**/*") if path.is_file()}
        first.kill()
    with held(workspace / "weights/tiny/fold_0_state"), held(workspace / "logs/tiny/fold_0"):
        pass


def test_a_second_preprocessing_of_the_same_folds_is_refused(sample, tmp_path):
    """Stopped in the middle of writing, the first one is neither disturbed nor doubled."""
    program = (
        "import os, signal, sys, tgs_preprocess\nlink = os.symlink\n"
        "def stop(*args):\n    os.symlink = link\n    print('x', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n    link(*args)\n"
        "os.symlink = stop\ntgs_preprocess.main(sys.argv[1:])\n"
    )
    flags = (f"--data_path={sample}", "--fold=3", f"--folds_path={tmp_path}/folds")
    line = [sys.executable, "-c", program, *flags]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout.readline() == "x\n"
            done = subprocess.run(
                command("tgs_preprocess.py", *flags), cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert f"{tmp_path}/folds is in use by process {first.pid} on " in error_line(done)
        finally:
            first.send_signal(signal.SIGCONT)
        first.stdout.read()
    assert first.returncode == 0
    written = {"folds.csv", "evenness.csv", "config.yaml", "folds.png", "samples.png"}
    made = {"fold_0", "fold_1", "fold_2"} | written
    assert names(tmp_path / "folds") == made


@pytest.mark.slow
def test_predictions_that_end_in_the_same_second_overwrite_nothing(tmp_path):
    written = list(chain(*race("submit", tmp_path)))
    assert len({path for path, _ in written}) == 6
    assert names(tmp_path) == {Path(path).name for path, _ in written}
    for path, mask in written:
        assert check_submission(path, {f"{k:04}" for k in range(2000)}) == (2000, 2000)
        assert f"0000,{mask}\n" in Path(path).read_text()


def test_recipes_are_json_of_one_object(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, 2]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2]}
    for text, said in (("[1]", "holds no JSON object"), ("{", "is not JSON"), ("[" * 100_000, "is not JSON")):
        (tmp_path / "a.json").write_text(text)
        refused(lambda: read_json(tmp_path / "a.json"), said)
    refused(lambda: read_json(tmp_path / "none.json"), f"cannot read {tmp_path}/none.json: No such file")
