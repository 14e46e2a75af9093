"""Figures of a split: what they show, on numbers small enough to see through."""

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from data.folds import figures


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


def size(path) -> tuple[int, int]:
    """Width and height of a PNG that is not blank."""
    pixels = cv2.imread(str(path))
    assert pixels.std() > 5
    return pixels.shape[1::-1]


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that are saved, in order."""
    saved, save = [], figures.save_figure
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: (saved.append(figure), save(figure, path)))
    return saved


def test_bars_are_of_all_tiles_and_dashes_of_each_fold():
    axes = Figure().subplots()
    folds, classes = pd.Series([0, 0, 1, 1]), pd.Series([0, 0, 0, 2])
    figures.draw_shares(axes, folds, classes, np.array([0.0, 10.0, 20.0]), 10)
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
