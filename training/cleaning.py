"""Training tiles to leave out, by name: those whose image or mask teaches nothing, or something wrong."""

import numpy as np

from common.errors import InputError
from common.names import Entry, list_names, read_sum
from data.tiles import TileSet

TINY = 10  # pixels


def black(tiles: TileSet) -> np.ndarray:
    """Mark images without any contrast: all pixels are equal."""
    return (tiles.images == tiles.images[:, :1, :1]).all(axis=(1, 2))


def tiny(tiles: TileSet) -> np.ndarray:
    """Mark masks of 1 to 10 pixels."""
    area = np.count_nonzero(tiles.masks, axis=(1, 2))
    return (area > 0) & (area <= TINY)


def vertical(tiles: TileSet) -> np.ndarray:
    """Masks of vertical stripes, from the top of the tile to its bottom: neither empty nor full, all rows equal."""
    first = tiles.masks[:, 0]  # (N, 101)
    return (tiles.masks == first[:, None]).all(axis=(1, 2)) & first.any(axis=1) & ~first.all(axis=1)


RULES: dict[str, Entry] = {  # functions of a TileSet, bool (N,): which tiles to leave out
    "black": Entry("Images without any contrast: all pixels are equal.", black),
    "tiny": Entry("Masks of 1 to 10 pixels.", tiny),
    "vertical": Entry(
        "Masks of vertical stripes, from the top of the tile to its bottom: neither empty nor full, all rows equal.",
        vertical,
    ),
}


def list_rules() -> str:
    """Write a line for each name that `--drop` knows."""
    return list_names(RULES)


def clean(tiles: TileSet, text: str) -> tuple[TileSet, str]:
    """Leave out the tiles that a text such as "black+tiny" names; "none" leaves out none.

    Returns:
        the others, and in words how many each rule has left out, such as " (58 black, 31 tiny left out)", or nothing; a
        tile that several fit counts for the first.

    Raises:
        InputError: an unknown name, with the list of names, or no tile is left.
    """
    counts: dict[str, int] = {}
    out = np.zeros(len(tiles), bool)
    for name, rule in read_sum(text, RULES, "--drop rule", "black+tiny"):
        found = rule.function(tiles) & ~out
        counts[name] = int(found.sum())
        out |= found
    if out.all():
        raise InputError(f"--drop={text} leaves no tile of {len(tiles)} to train; name fewer rules")
    said = f" ({', '.join(f'{count} {name}' for name, count in counts.items())} left out)" if counts else ""
    if not out.any():
        return tiles, said
    return TileSet([tiles.ids[k] for k in np.flatnonzero(~out)], tiles.images[~out], tiles.masks[~out]), said
