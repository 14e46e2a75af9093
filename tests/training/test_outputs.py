"""What a training leaves: the state before all that is only looked at, which never costs an epoch."""

import re

import keras
import pandas as pd
import pytest

from common.ring.single import SingleProcess
from models import make_model
from tests.helpers.commands import refused
from tests.helpers.disks import Run
from training.outputs import Outputs
from training.settings import Settings
from training.state import Progress, TrainingState


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return make_model("tiny", 32)


def fails(*args: object) -> None:
    raise RuntimeError("latex could not be found\nSee the log")


def test_a_picture_that_cannot_be_drawn_is_a_line(tmp_path, model, monkeypatch, capsys):
    at = Run(tmp_path / "weights", tmp_path / "logs", model)
    monkeypatch.setattr("training.curves.draw_history", fails)
    at.save(0.2)
    assert at.found() == (1, 1, 1)
    said = f"cannot draw {tmp_path}/weights/fold_0_curves.png: latex could not be found See the log"
    assert capsys.readouterr().err == f"warning: {said}; the training goes on\n"
    assert len(pd.read_csv(tmp_path / "logs/history.csv")) == 1


@pytest.mark.parametrize("name", ["weights/fold_0_curves.png", "logs/history.csv"])
def test_a_folder_in_the_place_of_what_is_looked_at_is_a_line(tmp_path, model, name, capsys):
    at = Run(tmp_path / "weights", tmp_path / "logs", model)
    (tmp_path / name).mkdir()
    for score in (0.2, 0.3):
        at.save(score)
        said = capsys.readouterr().err
        assert re.fullmatch(
            rf"warning: cannot write {tmp_path / name}: Is a directory; .*; the training goes on\n", said
        )
    assert at.found() == (2, 2, 2)


def test_events_that_cannot_be_written_are_a_line(tmp_path, model, monkeypatch, capsys):
    at = Run(tmp_path / "weights", tmp_path / "logs", model)
    monkeypatch.setattr("tensorflow.summary.scalar", fails)
    at.save(0.2)
    assert at.found() == (1, 1, 1)
    assert "warning: cannot write " in capsys.readouterr().err
    assert (tmp_path / "weights/fold_0_curves.png").is_file()


def test_what_a_killed_run_had_not_drawn_is_drawn_on_resuming(tmp_path, model):
    """The state is of two epochs, history.csv of one: as after a kill, or a full disk, right behind the state."""
    at = Run(tmp_path / "weights", tmp_path / "logs", model, scores=(0.2,))
    history, curves = tmp_path / "logs/history.csv", tmp_path / "weights/fold_0_curves.png"
    before = history.read_bytes(), curves.read_bytes()
    at.save(0.3)
    after = history.read_bytes(), curves.read_bytes()
    for file, content in zip((history, curves), before, strict=True):
        file.write_bytes(content)
    again = Outputs(tmp_path / "weights", tmp_path / "logs", "fold_0", at.variables, SingleProcess())
    assert again.resume(Progress(), anew=True).epoch == 0
    assert history.read_bytes() == before[0]
    assert again.resume(Progress()).epoch == 2
    assert (history.read_bytes(), curves.read_bytes()) == after


def test_a_state_of_an_earlier_version_goes_on_where_the_flags_are_the_same(tmp_path):
    """It may lack settings that came later, which then had their default."""
    state = TrainingState(tmp_path, [])
    fresh = Progress(settings=Settings(epochs=7))
    values = fresh.to_json()
    assert list(values["flags"])[:2] == ["model", "target_size"]
    for later in ("swa", "confidence", "small_epochs", "small_size"):
        del values["flags"][later]
    state.save(Progress.from_json(values | {"seconds": 3.0}))
    assert state.resume(fresh).seconds == 3.0
    assert Progress.from_json(values).settings == fresh.settings
    values["flags"] |= {"small_epochs": 3, "small_size": 32}  # numbers, while each could be one only
    assert Progress.from_json(values).settings == Settings(epochs=7, small_epochs="3", small_size="32")
    other = Progress(settings=Settings(epochs=7, swa=0.5))
    refused(lambda: state.resume(other), "was made with --swa=0.0, not 0.5; repeat that flag")
