"""Cut labelled tiles from a survey and its interpretation, to train on one's own salt.

    python -m data.tiles_from_segy volume.sgy labels.sgy --path=data/mine
    python -m data.tiles_from_segy volume.sgy labels.sgy --path=data/mine --slices=both --count=4000

labels.sgy has all or some of the volume's lines, with the same traces and samples; salt is where it is above 0.5.
Amplitudes are stretched once for the whole volume, as a prediction of it does. Windows in which anything means nothing
(dead traces, fill values, NaN) or a trace is missing are left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.command import run
from common.errors import InputError
from common.flags import Parser, command_line, number
from data.folds.split import coverage_class
from data.kaggle.write import refuse_data, write_data_set
from data.seismic.amplitudes import Stretch
from data.seismic.segy import SLICES, Line, Survey
from data.tiles import TILE

DRAWN = 3  # windows that are looked at for each tile that is wanted
EMPTY = 0.4  # share of tiles without salt, if there is enough of both: Kaggle's


class Tile(NamedTuple):
    """A tile uint8 and its mask bool, both (101, 101), its id, and the sample that it begins with."""

    id: str
    image: np.ndarray
    mask: np.ndarray
    depth: int


def cut_tiles(
    survey: Survey, labels: Survey, *, slices: str = "inline", count: int = 2000, seed: int = 1
) -> list[Tile]:
    """Draw up to `count` windows of the survey, so that EMPTY of them have no salt; a line at a time is in memory.

    Raises:
        InputError: the two have no line in common that a tile fits in, or no salt is in what is drawn.
    """
    pairs = [pair for direction in SLICES[slices] for pair in _common_lines(survey, labels, direction)]
    if not pairs:
        raise InputError(
            f"{labels.path} ({labels}) has no line of {survey.path} ({survey}) with the same traces and samples, at "
            f"least {TILE}; give the two files of one survey"
        )
    rng = np.random.default_rng(seed)
    stretch = Stretch.fit(survey.sample().T)
    found: dict[str, Tile] = {}
    drawn = np.bincount(rng.integers(len(pairs), size=DRAWN * count), minlength=len(pairs))
    for k in np.flatnonzero(drawn):
        line, labelled = pairs[k]
        gray, nothing = stretch.gray(survey.read(line.traces).T)
        gray, nothing = line.section(gray.T), line.section(nothing.T, True)
        salt = line.section(labels.read(labelled.traces) > 0.5)
        for top, left in zip(*(rng.integers(side - TILE + 1, size=drawn[k]) for side in gray.shape), strict=True):
            window = np.s_[top : top + TILE, left : left + TILE]
            if not nothing[window].any():
                name = f"{line.name.replace(' ', '_')}_{left}_{top}"
                found[name] = Tile(name, gray[window].copy(), salt[window].copy(), int(top))
    tiles = [found[name] for name in rng.permutation(list(found))]
    salty, empty = ([tile for tile in tiles if tile.mask.any() == is_salty] for is_salty in (True, False))
    if not salty:
        raise InputError(f"{labels.path} has no value above 0.5, which is salt, where {survey.path} has amplitudes")
    chosen = empty[: max(round(EMPTY * count), count - len(salty))]
    return chosen + salty[: count - len(chosen)]


def _common_lines(survey: Survey, labels: Survey, direction: str) -> Iterator[tuple[Line, Line]]:
    """List the lines, not smaller than a tile, that both have with the same traces."""
    theirs = {line.name: line for line in labels.lines(direction)}
    if survey.samples != labels.samples or survey.samples < TILE:
        return
    for line in survey.lines(direction):
        other = theirs.get(line.name)
        if other and line.width >= TILE and np.array_equal(line.numbers, other.numbers):
            yield line, other


def main(argv: list[str] | None = None) -> Path:
    """Cut and write tiles, and say how much salt they have; returns the folder."""
    parser = Parser(description=__doc__)
    parser.add_argument("volume", help="the survey, SEG-Y")
    parser.add_argument("labels", help="its interpretation, SEG-Y: above 0.5 is salt")
    parser.option("path", "data/mine", "folder to write to", metavar="PATH")
    parser.option("count", 2000, "tiles, at most", type=number(int, 1, 100_000), metavar="N")
    parser.option("slices", "inline", "lines that they are cut from", choices=tuple(SLICES))
    byte = number(int, 1, 240)
    parser.option("inline_byte", 189, "where trace headers have the inline's number", type=byte, metavar="N")
    parser.option("crossline_byte", 193, "and the crossline's", type=byte, metavar="N")
    parser.option("seed", 1, "the same seed gives the same bytes", type=number(int, 0), metavar="N")
    args = parser.parse_args(argv)
    refuse_data(args.path)
    bytes = {"inline_byte": args.inline_byte, "crossline_byte": args.crossline_byte}
    survey, labels = (Survey(path, **bytes) for path in (args.volume, args.labels))
    tiles = cut_tiles(survey, labels, slices=args.slices, count=args.count, seed=args.seed)
    ids, images, masks, depths = zip(*tiles, strict=True)
    write_data_set(args.path, ids, np.stack(images), np.stack(masks), depths, n_train=len(ids))
    coverage = np.stack(masks).mean(axis=(1, 2))
    print("coverage  tiles")
    for k, tiles_of in enumerate(np.bincount(coverage_class(coverage), minlength=11)):
        print(f"{'empty' if k == 0 else f'{10 * k - 10}-{10 * k} %':8}  {tiles_of:5}")
    print(f"wrote {len(ids)} labelled tiles, {coverage.mean():.1%} salt, of {survey.path} to {args.path}/")
    print(f"next: {command_line('tgs_preprocess.py', data_path=args.path)}")
    return Path(args.path)


if __name__ == "__main__":
    run(main)
