"""How long a training takes on this machine: a few steps and batches, timed, times what is left."""

import math
import statistics
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import tensorflow as tf

from common.progress import duration
from common.ring.base import Ring
from data.folds.fold import Fold, find_test_tiles
from data.kaggle.zips import UNPACKED
from models.weights import ENDING, peek_recipe
from training.batches import TrainingBatches
from training.inputs import read_tiles
from training.learner import Learner
from training.settings import LOVASZ_SHARE, Settings

TIMED = 5  # steps at each size, behind the first, which is traced and compiled


def forecast_training(
    args: Namespace, settings: Settings, folds: Sequence[Path], ring: Ring, learners: Callable[[int], Learner]
) -> str:
    """Say how long what is left of `folds` takes here, and a prediction after it; writes nothing.

    All ranks of a ring call alike. What is timed trains: the learner is of no use any more.

    Args:
        args: tgs_train.py's flags.
        learners: gives the learner for epochs of so many steps.
    """
    files = [Path(args.weights_path) / settings.model / f"{path.name}_last{ENDING}" for path in folds]
    ends = ring.on_chief(lambda: [peek_recipe(file).epoch if args.resume and file.is_file() else 0 for file in files])
    left = Counter(settings.size(epoch) for end in ends for epoch in range(end, settings.epochs))
    if not left:
        return "nothing is left to train"
    fold, tiles, _ = read_tiles(folds[ends.index(min(ends))], settings.drop, ring)
    shares = {"rank": ring.rank, "size": ring.size}
    batches = TrainingBatches(tiles, batch_size=args.batch_size, seed=settings.seed, **shares)
    learner = learners(len(batches))
    at = {settings.size(epoch): epoch for epoch in range(settings.epochs)}
    timed = {size: _time_epoch(learner, at[size], batches, fold, ring) for size in left}
    unfinished = sum(end < settings.epochs for end in ends)
    part = math.ceil(unfinished / args.jobs) / unfinished
    at_once = f", {args.jobs} folds at once" if args.jobs > 1 else ""
    return tell(left, timed, part) + at_once + _tell_prediction(learner, fold, args.jobs)


def tell(left: Mapping[int, int], timed: Mapping[int, tuple[float, float]], part: float = 1.0) -> str:
    """Say how long `left` epochs take, by their input's side, where one takes so many seconds and the first more.

    `part`: of the sum of all, which passes where several are trained at once.
    """
    told = ", ".join(f"{left[size]} epochs of {seconds:.1f} s at {size} px" for size, (seconds, _) in timed.items())
    whole = part * sum(left[size] * seconds + start for size, (seconds, start) in timed.items())
    return f"about {duration(whole)} of training left on this machine: {told}"


def _time_epoch(learner: Learner, epoch: int, batches: TrainingBatches, fold: Fold, ring: Ring) -> tuple[float, float]:
    """Give the seconds of an epoch with its validation, and those that its first step takes longer."""
    step, share = tf.constant(0), tf.constant(LOVASZ_SHARE)  # traced once, whatever the share is
    images, masks = next(iter(batches.epoch(epoch)))
    at, tiles = learner.at(epoch), fold.val.images[: len(images)]
    first, trained = _seconds(lambda: float(at.step(images, masks, step, share)))
    compiled, validated = _seconds(lambda: at.predictor(tiles))
    seconds = len(batches) * trained + math.ceil(len(fold.val) / len(images) / ring.size) * validated
    return seconds, first + compiled


def _tell_prediction(learner: Learner, fold: Fold, shares: int) -> str:
    """Say how long the test tiles take, by the networks of all folds and with mirror images; nothing without tiles.

    It is timed on one of so many `shares` of the cores, and has all of them.
    """
    folder = find_test_tiles(UNPACKED) or UNPACKED
    count = sum(1 for _ in (folder / "test/images").glob("*.png"))
    tiles = fold.val.images[: learner.predictor.batch_size]
    if not count:
        return ""
    _, seconds = _seconds(lambda: learner.predictor(tiles))
    whole = count * 2 * fold.count * seconds / learner.predictor.batch_size / shares
    return f"; then about {duration(whole)} to predict the {count:,} test tiles by {fold.count} networks"


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Time a call: the first, and the median of TIMED more."""
    clock = [time.perf_counter()]
    for _ in range(1 + TIMED):
        call()
        clock.append(time.perf_counter())
    first, *others = (after - before for before, after in pairwise(clock))
    return first, statistics.median(others)
