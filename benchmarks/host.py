"""What the host does around the network: reading, coding, scoring, starting, saving. Targets are for two cores.

On the competition's tiles where TGS_DATA, in the environment, names the folder of its zips; else on generated ones.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.material import Project, make_project, seconds
from benchmarks.outside import outside_rows
from benchmarks.processes import process_rows
from benchmarks.table import Row
from common.backend import load_tensorflow
from data.rle import encode_rle
from data.tiles import read_tiles

LABELLED, UNLABELLED = 3601, 18000  # tiles of the competition


def rows(rounds: int, tiny: bool) -> list[Row]:
    """All rows of the host, each of `rounds` values; `tiny` goes through all of it with a handful of tiles."""
    load_tensorflow()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        small = make_project(Path(scratch, "small"), 60, 20)
        full = small if tiny else make_project(Path(scratch, "full"), LABELLED, UNLABELLED)
        return [
            *part_rows(rounds, full, scored=60 if tiny else 4000, coded=60 if tiny else UNLABELLED),
            *outside_rows(rounds, full, network=("tiny", 32) if tiny else ("resnet34", 128)),
            *process_rows(rounds, small, full, network=("tiny", 32) if tiny else ("resnet34", 128)),
        ]


def part_rows(rounds: int, project: Project, *, scored: int, coded: int) -> list[Row]:
    """Reading tiles, coding `coded` masks, scoring `scored` masks, and the input pipeline: each alone."""
    from models.metrics import score
    from training.batches import TrainingBatches

    train = project.folder / "tgs/train"
    tiles = read_tiles(train / "images", train / "masks")
    on = f"{project.source}, 101 x 101"
    truth = np.resize(tiles.masks, (scored, 101, 101))
    prediction = np.roll(truth, 3, axis=1) != 0
    masks = np.resize(tiles.masks, (coded, 101, 101)) != 0
    found = [
        Row(
            f"reading and checking {len(tiles):,} tiles and masks",
            "s",
            seconds(lambda: read_tiles(train / "images", train / "masks"), rounds),
            2.0,
            note=f"data.tiles.read_tiles, {on}",
        ),
        Row(
            f"run-length coding of {coded:,} masks",
            "s",
            seconds(lambda: [encode_rle(mask) for mask in masks], rounds),
            1.0,
            note=f"data.rle.encode_rle, {on}",
        ),
        Row(
            f"score of {scored:,} masks",
            "s",
            seconds(lambda: score(truth, prediction), rounds),
            0.1,
            note=f"models.metrics.score, {on}, predicted: moved by 3 pixels",
        ),
    ]
    for batch in (16, 64):
        batches = TrainingBatches(tiles, batch_size=batch, seed=1)
        took = seconds(lambda batches=batches: [None for _ in batches.epoch(0)], rounds)
        speeds = [len(batches) * batch / s for s in took]
        note = f"an epoch of training.batches.TrainingBatches and nothing else, {on}"
        found.append(Row(f"input pipeline, batch {batch}", "tiles/s", speeds, 20_000, at_least=True, note=note))
    return found
