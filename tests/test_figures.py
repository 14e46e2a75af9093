"""Figures of numbers: what they show, on numbers small enough to see through."""

import time

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from data import figures
from tests.scripts import refused


def folds_table(n: int, folds: int, depths: np.ndarray | float) -> pd.DataFrame:
    """A folds.csv of `n` tiles of all coverage classes, dealt to the folds in turn."""
    classes = np.arange(n) % 11
    return pd.DataFrame(
        {
            "id": [f"{k:010x}" for k in range(n)],
            "fold": np.arange(n) % folds,
            "coverage": classes / 10,
            "coverage_class": classes,
            "depth": depths,
        }
    )


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
    saved, save = [], figures._save
    monkeypatch.setattr(figures, "_save", lambda figure, path: (saved.append(figure), save(figure, path)))
    return saved


# ---- folds -------------------------------------------------------------------------------------------------------


def test_bars_are_of_all_tiles_and_dashes_of_each_fold():
    axes = Figure().subplots()
    folds, classes = pd.Series([0, 0, 1, 1]), pd.Series([0, 0, 0, 2])
    figures._draw_shares(axes, folds, classes, np.array([0.0, 10.0, 20.0]), 10)
    assert [(bar.get_x(), bar.get_height()) for bar in axes.patches] == [(0, 75), (10, 0), (20, 25)]
    dashes = [[segment[:, 1].tolist() for segment in fold.get_segments()] for fold in axes.collections]
    assert dashes == [[[100, 100], [0, 0], [0, 0]], [[50, 50], [0, 0], [50, 50]]]
    starts, ends = ([fold.get_segments()[1][side, 0] for fold in axes.collections] for side in (0, 1))
    assert 10 < starts[0] < ends[0] < starts[1] < ends[1] < 20  # fold after fold, in the bar of class 1


@pytest.mark.parametrize("folds", [2, 5, 100])
def test_folds_are_drawn_however_many(tmp_path, drawn, folds):
    figures.draw_folds(tmp_path / "folds.png", folds_table(220, folds, np.linspace(50, 1000, 220)))
    assert size(tmp_path / "folds.png") == (1320, 484)
    coverage, depth = drawn[0].axes
    assert len(coverage.collections) == len(depth.collections) == folds
    for axes in (coverage, depth):  # the deepest tile lies on an edge, and in a bar all the same
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(100)
    assert f"0 to {folds - 1}" in coverage.get_legend().get_texts()[1].get_text()
    assert "%" in coverage.get_xlabel()
    assert "%" in coverage.get_ylabel()


def test_unknown_depths_are_left_out_and_counted(tmp_path, drawn):
    depths = np.array([np.nan] * 3 + [100.0] * 8 + [777.0] * 8 + [np.nan])
    figures.draw_folds(tmp_path / "folds.png", folds_table(20, 2, depths))
    assert drawn[0].axes[1].get_title() == "depth unknown: 4 tiles, left out"
    assert sorted(bar.get_height() for bar in drawn[0].axes[1].patches)[-3:] == [0, 50, 50]
    figures.draw_folds(tmp_path / "folds.png", folds_table(20, 2, np.nan))
    assert drawn[1].axes[1].get_title() == "depth unknown: 20 tiles, left out"
    assert not drawn[1].axes[1].patches
    figures.draw_folds(tmp_path / "folds.png", folds_table(20, 2, 100))
    assert [bar.get_height() for bar in drawn[2].axes[1].patches if bar.get_height()] == [100]  # all equally deep


# ---- training ----------------------------------------------------------------------------------------------------


def test_every_column_is_drawn_and_the_best_epoch_named(tmp_path, drawn):
    table = history(40)
    figures.draw_history(tmp_path / "history.png", table)
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


def test_the_folds_curves_are_told_apart_without_colour(tmp_path, drawn):
    histories = {f"fold_{k}": history(3 + k).assign(val_score=0.1 * k) for k in range(5)}
    figures.draw_folds_history(tmp_path / "folds.png", histories)
    for axes, column in zip(drawn[0].axes, ("val_loss", "val_score"), strict=True):
        assert [line.get_label() for line in axes.lines] == list(histories)
        for line, table in zip(axes.lines, histories.values(), strict=True):
            assert np.array_equal(line.get_ydata(), table[column])
        assert len({(line.get_linestyle(), line.get_color()) for line in axes.lines}) == 5


def test_a_single_epoch_is_seen(tmp_path):
    contents = []
    for val_loss in (0.5, 0.6):
        figures.draw_history(tmp_path / "history.png", history(1).assign(loss=0.7, val_loss=val_loss))
        contents.append(cv2.imread(str(tmp_path / "history.png"), 0)[40:258, 90:690])  # the losses' panel, inside
    columns = np.flatnonzero((contents[0] < 100).any(axis=0))
    assert (contents[0] < 100).sum() > 20
    assert np.ptp(columns) < 10  # two marks, one above the other


def test_a_figure_keeps_nothing_of_the_one_before(tmp_path):
    contents = []
    for epochs in (3, 300, 3):
        figures.draw_history(tmp_path / "history.png", history(epochs))
        contents.append((tmp_path / "history.png").read_bytes())
    assert contents[0] == contents[2] != contents[1]


def test_the_next_epochs_figure_costs_less_than_the_first(tmp_path):
    def seconds(anew: bool) -> float:
        if anew:
            figures._history_figure.cache_clear()
        began = time.process_time()
        figures.draw_history(tmp_path / "history.png", history(300))
        return time.process_time() - began

    anew, again = [], []
    for _ in range(4):
        anew.append(seconds(True))
        again.append(seconds(False))
    print(f"anew {min(anew):.3f} s, again {min(again):.3f} s")
    assert min(again) < 0.9 * min(anew)


# ---- out of fold -------------------------------------------------------------------------------------------------


def test_curves_go_through_the_best_pair(tmp_path, drawn):
    grid = pd.DataFrame([[0.1, 0.2], [0.3, 0.4], [0.25, 0.5]], index=[0.4, 0.5, 0.6], columns=[0, 80])
    coverage = pd.DataFrame({"tiles": [1200, 1], "score": [0.9, 0.25]}, index=["empty", "90-100 %"])
    figures.draw_out_of_fold(tmp_path / "oof.png", grid, coverage)
    assert size(tmp_path / "oof.png") == (1540, 484)
    threshold, area, classes = drawn[0].axes
    assert threshold.lines[0].get_ydata().tolist() == [0.2, 0.4, 0.5]
    assert area.lines[0].get_ydata().tolist() == [0.25, 0.5]
    labels = [text.get_text() for axes in (threshold, area) for text in axes.get_legend().get_texts()]
    assert labels == ["0.50: 0.4000", "0.60: 0.5000 (best)", "80 px: 0.5000 (best)"]
    assert [bar.get_width() for bar in classes.patches] == [0.9, 0.25]
    assert [text.get_text() for text in classes.texts] == ["0.900  (1,200 tiles)", "0.250  (1 tile)"]
    assert classes.get_ylim()[0] > classes.get_ylim()[1]  # empty on top
    assert "pixels" in area.get_xlabel()


# ---- writing -----------------------------------------------------------------------------------------------------


def test_a_figure_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "history.png"
    figures.draw_history(path, history(2))
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    refused(lambda: figures.draw_history(path, history(3)), f"cannot write {path}: No space left")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["history.png"]
