"""The CSV tables of the competition: read, and checked line by line."""

import csv
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from common.errors import InputError, refusals
from data.rle import fill_runs, read_runs
from data.tiles import TileSet, check_is_file, is_id


def read_csv(path: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV whose header is exactly `columns`, all as text; the first column holds unique ids.

    Returns:
        a table indexed by line of the file.
    Raises:
        InputError: unreadable or malformed file, another header, no row, or an empty, repeated or impossible id.
    """
    try:
        with refusals("read", path):
            check_is_file(path)
            with open(path, encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, strict=True)
                rows = [(reader.line_num, row) for row in reader if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV of {','.join(columns)} ({error})") from None
    if not rows:
        raise InputError(f"{path} is empty; get the file again")
    (_, header), *rows = rows
    if tuple(header) != columns:
        found = " ".join(",".join(header)[:80].splitlines())
        raise InputError(f"{path} has the columns {found}; expected {','.join(columns)}")
    if not rows:
        raise InputError(f"{path} has a header and no rows")
    seen: set[str] = set()
    for line, row in rows:
        if len(row) != len(columns):
            raise InputError(f"{path} line {line} has {len(row)} values; expected {','.join(columns)}")
        if not row[0]:
            raise InputError(f"{path} line {line}: the {columns[0]} is empty")
        if not is_id(row[0]):
            raise InputError(f"{path} line {line}: {row[0][:80]!a} cannot be an id: a tile's name without folders")
        if row[0] in seen:
            raise InputError(f"{path} line {line} has '{row[0]}' a second time; keep one")
        seen.add(row[0])
    lines, values = zip(*rows, strict=True)
    return pd.DataFrame(list(values), index=list(lines), columns=list(columns), dtype=str)


def read_depths(path: str | Path) -> dict[str, float]:
    """Read depths.csv: id -> depth below the surface in the data's own units (feet, Kaggle says)."""
    table = read_csv(path, ("id", "z"))
    depths = pd.to_numeric(table["z"], errors="coerce")
    for line in depths.index[~np.isfinite(depths)]:
        raise InputError(f"{path} line {line}: the depth '{table['z'][line]}' is not a number")
    return dict(zip(table["id"], depths.tolist(), strict=True))


def check_train_csv(path: str | Path, tiles: TileSet) -> None:
    """Check that every id of train.csv has a tile, and that its mask is the tile's."""
    table = read_csv(path, ("id", "rle_mask"))
    for name in sorted(set(table["id"]) - set(tiles.ids)):
        raise InputError(f"{path} has the id '{name}', for which there is no image; remove the row or add the tile")
    check_masks(path, table, dict(zip(tiles.ids, tiles.masks, strict=True)))


def check_masks(path: str | Path, table: pd.DataFrame, masks: Mapping[str, np.ndarray] = MappingProxyType({})) -> None:
    """Check the rle_mask column of a table read from `path`: each a mask and, where `masks` knows the id, this one."""
    for line, name, text in zip(table.index, table["id"], table["rle_mask"], strict=True):
        try:
            runs = read_runs(text)
        except ValueError as error:
            raise InputError(f"{path} line {line}, id '{name}': {error}") from None
        if name in masks and not np.array_equal(fill_runs(runs), masks[name]):
            raise InputError(f"{path} line {line}: masks/{name}.png holds another mask; mend one, or remove {path}")
