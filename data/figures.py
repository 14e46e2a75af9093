"""Figures of numbers: how even the folds are, training curves, out-of-fold curves. Sheets of tiles: data/sheets.py.

Readable in black and white: lines differ in style, and marks carry their values as text.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import matplotlib

matplotlib.use("agg")  # no display needed

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from data.files import replacing

ACCENT = "#b03a00"  # a dark orange: what is best; as dark as the rest in black and white
FAINT = "0.85"
THIN = {"linewidth": 1.2, "markersize": 3.5}
STYLES = ("-", "--", "-.", ":")
RING = {"markersize": 9, "fillstyle": "none", "markeredgewidth": 1.8}


# ---- folds -------------------------------------------------------------------------------------------------------


def evenness(table: pd.DataFrame) -> pd.DataFrame:
    """A row a fold, from the table of folds.csv: how many tiles, how much salt, how deep."""
    groups = table.groupby("fold")
    return pd.DataFrame(
        {
            "tiles": groups.size(),
            "empty_percent": (groups["coverage_class"].apply(lambda c: (c == 0).mean()) * 100).round(2),
            "coverage_percent": (groups["coverage"].mean() * 100).round(2),
            "depth_mean": groups["depth"].mean().round(1),
            "depth_std": groups["depth"].std().round(1),
        }
    )


def draw_folds(path: str | Path, table: pd.DataFrame) -> None:
    """Draw how coverage and depth are distributed over all tiles, a bar a class, and in every fold, a dash in the bar.

    `table`: as of folds.csv, the numbers as numbers; depths that are not known are NaN.
    """
    figure = Figure(figsize=(12, 4.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = table["fold"].value_counts()
    each = " to ".join(f"{n:,}" for n in sorted({sizes.min(), sizes.max()}))
    figure.suptitle(f"{len(table):,} tiles in {len(sizes)} folds of {each} tiles")

    empty = -12.0  # where the bar of tiles without salt stands, apart from the others
    _draw_shares(left, table["fold"], table["coverage_class"], np.array([empty, *range(0, 100, 10)]), 10)
    left.set_xticks([empty + 5, *range(0, 101, 10)], ["empty", *map(str, range(0, 101, 10))])
    left.set(xlabel="salt coverage of the tile (%)", ylabel="share of the tiles (%)")
    last = sizes.index.max()
    marks = (left.containers[0], left.collections[0])
    left.legend(marks, ["all tiles", f"each fold's, 0 to {last} from left to right"], frameon=False)

    known = table[table["depth"].notna()]
    right.set(xlabel="depth z of the tile (as in depths.csv, which names no unit)")
    if len(known) < len(table):
        right.set_title(f"depth unknown: {len(table) - len(known):,} tiles, left out", fontsize="medium")
    if len(known):
        least, most = known["depth"].min(), known["depth"].max()
        edges = MaxNLocator(10).tick_values(least, most + ((most - least) or 1) / 1000)  # the deepest lies inside, too
        classes = pd.Series(np.searchsorted(edges, known["depth"], side="right") - 1, known.index)
        _draw_shares(right, known["fold"], classes, edges[:-1], edges[1] - edges[0])
        right.set(ylabel="share of the tiles of known depth (%)")
    else:
        right.set(xticks=[], yticks=[])
    _save(figure, path)


def _draw_shares(axes: Axes, folds: pd.Series, classes: pd.Series, lefts: np.ndarray, width: float) -> None:
    """Draw a bar from `lefts[c]` on for the share of class c among all tiles, and in it a dash for each fold's."""
    within = pd.crosstab(folds, classes, normalize="index").reindex(columns=range(len(lefts)), fill_value=0) * 100
    overall = classes.value_counts(normalize=True).reindex(range(len(lefts)), fill_value=0) * 100
    axes.bar(lefts, overall, 0.96 * width, align="edge", color=FAINT)
    step = 0.88 * width / len(within)
    for k, share in enumerate(within.to_numpy()):
        start = lefts + 0.04 * width + k * step
        axes.hlines(share, start, start + 0.8 * step, color="black", linewidth=1.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    axes.set_ylim(bottom=0)


# ---- training ----------------------------------------------------------------------------------------------------


def draw_history(path: str | Path, history: pd.DataFrame) -> None:
    """Draw loss, score and learning rate over the epochs from the columns of history.csv; a row or more.

    Called after every epoch: the figure is made once a process and only its curves are exchanged.
    """
    figure, lines, best = _history_figure()
    epochs = history["epoch"].to_numpy()
    for column, line in lines.items():
        line.set_data(epochs, history[column])
        line.set_markevery(1 + len(epochs) // 25)  # a single epoch is no line
        line.axes.relim()
        line.axes.autoscale_view()
    line.axes.set(xlim=(0, max(2, 1.02 * epochs[-1])), ylim=(0, 1.1 * history["learning_rate"].max() or 1))
    epoch, score = history.loc[history["val_score"].idxmax(), ["epoch", "val_score"]]
    mark, text = best
    mark.set_data([epoch], [score])
    text.set_text(f"best: {score:.4f} in epoch {epoch:.0f}")
    _save(figure, path)


@cache
def _history_figure() -> tuple[Figure, dict[str, Line2D], tuple[Line2D, Text]]:
    """The empty figure, its lines by column of history.csv, and the mark and the text of the best epoch."""
    figure = Figure(figsize=(8, 7.2), dpi=90)
    heights = {"loss": (0.60, 0.35), "score": (0.285, 0.26), "rate": (0.08, 0.14)}  # bottom and height
    axes, lines = {}, {}
    for name, (bottom, height) in heights.items():
        axes[name] = figure.add_axes((0.12, bottom, 0.85, height), sharex=axes.get("loss"))
        axes[name].yaxis.set_major_locator(MaxNLocator(4))
        axes[name].yaxis.set_label_coords(-0.09, 0.5)  # a fixed place: nothing to lay out
        axes[name].tick_params(labelbottom=name == "rate")
        axes[name].spines[["top", "right"]].set_visible(False)
    axes["rate"].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes["rate"].xaxis.set_label_coords(0.5, -0.3)
    axes["rate"].ticklabel_format(axis="y", scilimits=(0, 0))
    for panel, column, line, fill in (
        ("loss", "loss", "-", "full"),
        ("loss", "val_loss", "--", "none"),
        ("score", "val_score", "-", "full"),
        ("rate", "learning_rate", "-", "full"),
    ):
        (lines[column],) = axes[panel].plot([], [], line, color="black", marker="o", fillstyle=fill, **THIN)
    axes["loss"].legend(
        [lines["loss"], lines["val_loss"]],
        ["training, as --loss says", "validation, binary cross-entropy"],
        **{"loc": "lower right", "bbox_to_anchor": (1, 0.98), "ncols": 2, "frameon": False},
    )
    axes["loss"].set(ylabel="loss")
    axes["score"].set(ylabel="validation score (0 to 1)")
    axes["rate"].set(ylabel="learning rate", xlabel="epoch")
    (mark,) = axes["score"].plot([], [], "o", color=ACCENT, **RING)
    text = axes["score"].text(1, 1.03, "", transform=axes["score"].transAxes, ha="right", color=ACCENT)
    return figure, lines, (mark, text)


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
    _save(figure, path)


# ---- out of fold -------------------------------------------------------------------------------------------------


def draw_out_of_fold(path: str | Path, grid: pd.DataFrame, coverage: pd.DataFrame) -> None:
    """Draw the score against threshold and against minimum area, both through the best pair, and by coverage class.

    Args:
        path: the PNG.
        grid: mean score (0..1) by threshold (index, 0.5 among them) and minimum area in pixels (columns), as
            models.out_of_fold.search leaves it.
        coverage: a row a class at that pair, columns `tiles` and `score`, as models.out_of_fold.by_coverage makes it.
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
    _save(figure, path)


def _mark_best(axes: Axes, x: float, y: float, label: str) -> None:
    axes.plot(x, y, "o", color=ACCENT, label=label, **RING)
    axes.legend(frameon=False)


def _save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, by OpenCV: several times as fast as Matplotlib, which every epoch waits for."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = cv2.cvtColor(np.asarray(canvas.buffer_rgba()), cv2.COLOR_RGBA2BGR)
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1])
