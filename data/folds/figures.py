"""Figures of a split: how even its folds are, and tiles of each coverage class."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.figures import FAINT, default_style, save_figure
from data.sheets import draw_tiles
from data.tiles import TileSet


def evenness(table: pd.DataFrame) -> pd.DataFrame:
    """Tabulate a row a fold, from the table of folds.csv: how many tiles, how much salt, how deep."""
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


@default_style()
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
    draw_shares(left, table["fold"], table["coverage_class"], np.array([empty, *range(0, 100, 10)]), 10)
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
        draw_shares(right, known["fold"], classes, edges[:-1], edges[1] - edges[0])
        right.set(ylabel="share of the tiles of known depth (%)")
    else:
        right.set(xticks=[], yticks=[])
    save_figure(figure, path)


def draw_shares(axes: Axes, folds: pd.Series, classes: pd.Series, lefts: np.ndarray, width: float) -> None:
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


def draw_samples(path: str | Path, table: pd.DataFrame, tiles: TileSet, *, columns: int = 8) -> None:
    """Draw a row of tiles of each coverage class, from the least to the most salt (without any: to the deepest).

    `table`: as of folds.csv, the numbers as numbers, a row a tile in the order of `tiles`. The choice is the same
    for the same tiles: evenly spaced in the class, in order of coverage, then depth, then id.
    """
    order = table.reset_index(drop=True).sort_values(["coverage_class", "coverage", "depth", "id"])
    rows = {}
    for name, part in order.groupby("coverage_class"):
        picked = np.unique(np.linspace(0, len(part) - 1, columns).round().astype(int))
        heading = f"{10 * name - 10} to {10 * name} % salt" if name else "No salt"
        rows[f"{heading}: {len(part):,} of {len(table):,} tiles"] = part.index[picked]
    salt = table["coverage"].map(lambda share: f"{100 * share:.2f} % salt" if share else "no salt")
    depth = table["depth"].map(lambda z: "unknown" if pd.isna(z) else f"{z:g}")
    titles = (table["id"] + "\n" + salt + ", z " + depth + ", fold " + table["fold"].astype(str)).tolist()
    legend = "Tiles of 101 x 101 pixels, enlarged twice; salt as a share of the pixels; z: depth as in depths.csv."
    draw_tiles(path, tiles.images, masks=tiles.masks, titles=titles, rows=rows, columns=columns, legend=legend)
