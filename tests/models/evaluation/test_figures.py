"""Figures of an evaluation: curves of the folds and of the search."""

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from models.evaluation import figures


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
    saved, save = [], figures.save_figure
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: (saved.append(figure), save(figure, path)))
    return saved


def test_the_folds_curves_are_told_apart_without_colour(tmp_path, drawn):
    histories = {f"fold_{k}": history(3 + k).assign(val_score=0.1 * k) for k in range(5)}
    figures.draw_folds_history(tmp_path / "folds.png", histories)
    for axes, column in zip(drawn[0].axes, ("val_loss", "val_score"), strict=True):
        assert [line.get_label() for line in axes.lines] == list(histories)
        for line, table in zip(axes.lines, histories.values(), strict=True):
            assert np.array_equal(line.get_ydata(), table[column])
        assert len({(line.get_linestyle(), line.get_color()) for line in axes.lines}) == 5


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
