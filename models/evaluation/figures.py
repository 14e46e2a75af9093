"""Figures of numbers: how even the folds are, training curves, out-of-fold curves. Sheets of tiles: data/sheets.py.

Readable in black and white: lines differ in style, and marks carry their values as text.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.figures import ACCENT, FAINT, RING, STYLES, default_style, save_figure

# ---- folds -------------------------------------------------------------------------------------------------------


# ---- training ----------------------------------------------------------------------------------------------------


@default_style()
def draw_folds_history(path: str | Path, histories: Mapping[str, pd.DataFrame]) -> None:
    """Draw loss and score on the validation tiles over the epochs, a line a fold: fold's name -> as history.csv."""
    figure = Figure(figsize=(14, 4.4), dpi=110, layout="constrained")
    for axes, column, label in zip(
        figure.subplots(1, 2),
        ("val_loss", "val_score"),
        ("validation loss (binary cross-entropy, nats a pixel)", "validation score (0 to 1)"),
        strict=True,
    ):
        for k, (fold, history) in enumerate(histories.items()):
            style = {"color": str(0.6 * k / len(histories)), "linestyle": STYLES[k % len(STYLES)]}
            axes.plot(history["epoch"], history[column], marker="." if len(history) == 1 else "", label=fold, **style)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save_figure(figure, path)


# ---- out of fold -------------------------------------------------------------------------------------------------


@default_style()
def draw_out_of_fold(path: str | Path, grid: pd.DataFrame, coverage: pd.DataFrame) -> None:
    """Draw the score against threshold and against minimum area, both through the best pair, and by coverage class.

    Args:
        path: the PNG.
        grid: mean score (0..1) by threshold (index, 0.5 among them) and minimum area in pixels (columns), as
            models.evaluation.out_of_fold.search leaves it.
        coverage: a row a class at that pair, columns `tiles` and `score`, as
            models.evaluation.out_of_fold.by_coverage makes it.
    """
    figure = Figure(figsize=(14, 4.4), dpi=110, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    threshold, min_area = grid.stack().idxmax()
    figure.suptitle("Out of fold; the best pair of threshold and minimum area was found on these very tiles")

    curve = grid[min_area]
    left.plot(curve.index, curve, "-", color="black")
    left.plot(0.5, curve[0.5], "s", color="black", fillstyle="none", label=f"0.50: {curve[0.5]:.4f}")
    left.set(xlabel="threshold of the salt probability (0 to 1)", ylabel="mean score out of fold (0 to 1)")
    left.set_title(f"score against threshold, at minimum area {min_area} px", fontsize="medium")
    _mark_best(left, threshold, curve[threshold], f"{threshold:.2f}: {curve[threshold]:.4f} (best)")

    curve = grid.loc[threshold]
    middle.plot(curve.index, curve, ".-", color="black")
    middle.set(xlabel="minimum area (pixels); smaller masks are emptied")
    middle.set_title(f"score against minimum area, at threshold {threshold:.2f}", fontsize="medium")
    _mark_best(middle, min_area, curve[min_area], f"{min_area} px: {curve[min_area]:.4f} (best)")

    right.barh(range(len(coverage)), coverage["score"], color=FAINT, edgecolor="black", linewidth=0.8)
    for k, (score, tiles) in enumerate(zip(coverage["score"], coverage["tiles"], strict=True)):
        right.text(0.01, k, f"{score:.3f}  ({tiles:,} tile{'s' * (tiles != 1)})", va="center", fontsize="small")
    right.set_yticks(range(len(coverage)), coverage.index)
    right.invert_yaxis()
    right.set(xlim=(0, 1), xlabel="mean score (0 to 1)", ylabel="salt coverage of the tile")
    right.set_title("score by coverage class, at the best pair", fontsize="medium")
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _mark_best(axes: Axes, x: float, y: float, label: str) -> None:
    axes.plot(x, y, "o", color=ACCENT, label=label, **RING)
    axes.legend(frameon=False)
