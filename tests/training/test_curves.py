"""The curves of a training: every column drawn, nothing left of the epoch before."""

import time

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.helpers.commands import refused
from training import curves


def history(epochs: int) -> pd.DataFrame:
    """Falling losses, and a score that is best in the last but one epoch."""
    epoch = np.arange(1, epochs + 1)
    score = 0.8 - 0.1 * np.abs(epoch - max(1, epochs - 1)) / epochs
    columns = {"loss": 1 / epoch, "val_loss": 1.1 / epoch, "val_score": score, "learning_rate": 1e-3 / epoch}
    return pd.DataFrame({"epoch": epoch, **columns})


def size(path) -> tuple[int, int]:
    """Width and height of a PNG that is not blank."""
    pixels = cv2.imread(str(path))
    assert pixels.std() > 5
    return pixels.shape[1::-1]


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that are saved, in order."""
    saved, save = [], curves.save_figure
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: (saved.append(figure), save(figure, path)))
    return saved


def test_every_column_is_drawn_and_the_best_epoch_named(tmp_path, drawn):
    table = history(40)
    curves.draw_history(tmp_path / "history.png", table)
    assert size(tmp_path / "history.png") == (720, 648)
    lines = [line for axes in drawn[0].axes for line in axes.lines]
    for column in table.columns[1:]:
        assert any(np.array_equal(line.get_ydata(), table[column]) for line in lines), column
    for line in lines:  # all of it within its panel
        (left, right), (bottom, top) = line.axes.get_xlim(), line.axes.get_ylim()
        assert ((left <= line.get_xdata()) & (line.get_xdata() <= right)).all()
        assert ((bottom <= line.get_ydata()) & (line.get_ydata() <= top)).all()
    assert [text.get_text() for text in drawn[0].axes[1].texts] == ["best: 0.8000 in epoch 39"]
    assert len({(line.get_linestyle(), line.get_fillstyle()) for line in drawn[0].axes[0].lines}) == 2


def test_a_single_epoch_is_seen(tmp_path):
    contents = []
    for val_loss in (0.5, 0.6):
        curves.draw_history(tmp_path / "history.png", history(1).assign(loss=0.7, val_loss=val_loss))
        contents.append(cv2.imread(str(tmp_path / "history.png"), 0)[40:258, 90:690])  # the losses' panel, inside
    columns = np.flatnonzero((contents[0] < 100).any(axis=0))
    assert (contents[0] < 100).sum() > 20
    assert np.ptp(columns) < 10  # two marks, one above the other


def test_a_figure_keeps_nothing_of_the_one_before(tmp_path):
    """Of one with other epochs, losses, scores and rates: the next fold's first is drawn in the process of the last."""
    other = history(300)
    other = other.assign(loss=50 * other.loss, val_score=0.1 * other.val_score, learning_rate=0.3)
    contents = []
    curves.history_figure.cache_clear()
    for drawn in (history(3), other, history(3)):
        curves.draw_history(tmp_path / "history.png", drawn)
        contents.append((tmp_path / "history.png").read_bytes())
    assert contents[0] == contents[2] != contents[1]


def test_the_next_epochs_figure_costs_less_than_the_first(tmp_path):
    def seconds(anew: bool) -> float:
        if anew:
            curves.history_figure.cache_clear()
        began = time.process_time()
        curves.draw_history(tmp_path / "history.png", history(300))
        return time.process_time() - began

    anew, again = [], []
    for _ in range(4):
        anew.append(seconds(True))
        again.append(seconds(False))
    print(f"anew {min(anew):.3f} s, again {min(again):.3f} s")
    assert min(again) < 0.9 * min(anew)


def test_a_figure_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "history.png"
    curves.draw_history(path, history(2))
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    refused(lambda: curves.draw_history(path, history(3)), f"cannot write {path}: No space left")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["history.png"]
