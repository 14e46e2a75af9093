"""The curves of a training, drawn after every epoch."""

from functools import cache
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from common.figures import ACCENT, RING, THIN, default_style, save_figure


@default_style()
def draw_history(path: str | Path, history: pd.DataFrame) -> None:
    """Draw loss, score and learning rate over the epochs from the columns of history.csv; a row or more.

    Called after every epoch: the figure is made once a process and only its curves are exchanged.
    """
    figure, lines, (mark, text) = history_figure()
    epochs = history["epoch"].to_numpy()
    epoch, score = history.loc[history["val_score"].idxmax(), ["epoch", "val_score"]]
    mark.set_data([epoch], [score])  # before its panel takes its limits from what it holds
    text.set_text(f"best: {score:.4f} in epoch {epoch:.0f}")
    for column, line in lines.items():
        line.set_data(epochs, history[column])
        line.set_markevery(1 + len(epochs) // 25)  # a single epoch is no line
        line.axes.relim()
        line.axes.autoscale_view()
    line.axes.set(xlim=(0, max(2, 1.02 * epochs[-1])), ylim=(0, 1.1 * history["learning_rate"].max() or 1))
    save_figure(figure, path)


@cache
def history_figure() -> tuple[Figure, dict[str, Line2D], tuple[Line2D, Text]]:
    """Make the empty figure; returns it, its lines by column of history.csv, and the best epoch's mark and text."""
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
