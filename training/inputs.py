"""What the ranks of a ring read, each from its own disk: all of them the same, or nobody trains."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from common.ring.base import Ring
from common.surroundings import shared_settings
from data.folds.fold import Fold, list_folds, read_fold
from data.tiles import TileSet
from models.weights import versions
from training.cleaning import clean
from training.settings import Settings


def read_settings(args: Namespace, ring: Ring) -> tuple[Settings, list[Path]]:
    """Read the settings and find the folds that tgs_train.py's flags name.

    Raises:
        InputError: flags that contradict each other, no folds, or ranks that differ; the message names the first.
    """
    folds = ring.on_all(list_folds, args.data_path)
    settings = ring.on_all(Settings.from_flags, args)
    flags = asdict(settings) | {"batch_size": args.batch_size, "xla": args.xla, "resume": args.resume}
    facts = {f"flag --{name}": value for name, value in flags.items()}
    facts |= {name: value for name, value in versions().items() if name != "commit"}  # the code itself says more
    ring.check_same(facts | shared_settings() | {"folds": [fold.name for fold in folds]})
    return settings, folds


def read_tiles(path: Path, drop: str, ring: Ring) -> tuple[Fold, TileSet, str]:
    """Read a fold; returns it, its training tiles but for those to `drop`, and how many these are, in words."""
    fold = ring.on_all(read_fold, path)
    ring.check_same({"split": fold.fingerprint, "content of tiles": fold.digest})
    return fold, *ring.on_all(clean, fold.train, drop)
