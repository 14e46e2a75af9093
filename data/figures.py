"""Figures: how even the folds are, training curves. Readable in black and white (hatches, line styles)."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")  # no display needed

import pandas as pd
from matplotlib.figure import Figure

from data.files import replacing

LINES = ("-", "--", "-.", ":")


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
    """Draw the distribution of coverage class and depth in every fold."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    folds = sorted(table["fold"].unique())
    classes = range(11)
    width = 0.8 / len(folds)
    for k, fold in enumerate(folds):
        part = table[table["fold"] == fold]
        share = part["coverage_class"].value_counts(normalize=True).reindex(classes, fill_value=0) * 100
        shade = str(0.15 + 0.7 * k / max(len(folds) - 1, 1))
        left.bar([c + (k + 0.5) * width - 0.4 for c in classes], share, width, color=shade, label=f"fold {fold}")
        if part["depth"].notna().any():
            right.ecdf(part["depth"].dropna(), color=shade, linestyle=LINES[k % len(LINES)], label=f"fold {fold}")
    left.set_xticks(classes, ["empty", *(f"≤ {10 * c}" for c in classes[1:])])
    left.set(xlabel="salt coverage of the tile (%)", ylabel="share of the fold's tiles (%)")
    right.set(xlabel="depth of the tile (as in depths.csv)", ylabel="share of the fold's tiles at most so deep")
    if len(folds) <= 10:  # more would not fit, nor be told apart
        left.legend()
    _save(figure, path)


def draw_history(path: str | Path, history: pd.DataFrame) -> None:
    """Draw loss and score over the epochs from the columns of history.csv."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for column, line in (("loss", "-"), ("val_loss", "--")):
        left.plot(history["epoch"], history[column], line, color="black", label=column)
    right.plot(history["epoch"], history["val_score"], "-", color="black", label="val_score")
    left.set(xlabel="epoch", ylabel="loss (training loss; validation: binary cross-entropy)")
    right.set(xlabel="epoch", ylabel="competition score on the validation fold (0 to 1)")
    left.legend()
    _save(figure, path)


def _save(figure: Figure, path: str | Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
