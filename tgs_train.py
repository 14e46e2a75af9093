#!/usr/bin/env python3
"""Train a salt segmentation network on one fold, or on every fold in turn.

    python tgs_train.py --data_path=folds/fold_0 --model=resnet34           # one process: CPU or one GPU
    python tgs_train.py --data_path=folds --mixed_precision=True            # every fold, in bfloat16
    python tgs_train.py --data_path=folds --teacher=weights/resnet34 --weights_path=weights/round1   # self-training
    ./train_multi_gpu_ring.sh 4 --data_path=folds/fold_0                    # four GPUs, one process each

Running the same command again resumes after the last finished epoch; a finished run says so.
Writes weights/<model>/fold_k_best.weights.h5 and fold_k_last.weights.h5 with their recipes (.json), the flags
(fold_k_config.yaml), the curves (fold_k_curves.png) and the state that resuming needs, and logs/<model>/fold_k/ with
history.csv and TensorBoard events.
"""

from __future__ import annotations

import math
import os
import shlex
import time
from argparse import Namespace
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import data
import models
import training
from common.backend import load_tensorflow
from common.command import rank, run
from common.errors import InputError, SharedError
from common.files import read_json
from common.flags import Parser, command_line, config_text
from common.progress import bar, duration
from common.ring.join import join
from common.side_by_side import on_cores, run_side_by_side, share_of_cores

if TYPE_CHECKING:
    from common.ring import Ring

# The packages' facades are lazy: to name one here loads nothing heavy, and --help is answered at once.


def parser(hvd: bool) -> Parser:
    return training.training_parser(__doc__, hvd)


def main(argv: list[str] | None = None, *, hvd: bool = False) -> None:
    """Train the folds that the flags name."""
    args = parser(hvd).parse_args(argv)
    if args.hvd and args.jobs > 1:
        raise InputError(f"--jobs={args.jobs} is not for a ring, whose ranks share the cores already; leave it out")
    args.jobs = min(args.jobs, len(os.sched_getaffinity(0)))
    if args.jobs == 1 or asked_lists(args):
        train_here(args)
    elif args.forecast:  # of one share of the cores
        with on_cores(share_of_cores(0, args.jobs, args.jobs)):
            train_here(args)
    else:
        train_side_by_side(args)


def asked_lists(args: Namespace) -> list[str]:
    """Name the flags that are given as `list`, to show the names that they can have."""
    return [name for name in ("model", "loss", "augment", "drop") if getattr(args, name) == "list"]


def list_tables(names: list[str]) -> str:
    """List what each of these flags can be, and what that is."""
    lists = {"model": models.list_models, "loss": models.list_losses}
    lists |= {"augment": training.list_augmentations, "drop": training.list_rules}
    return "\n".join(f"--{name}\n{lists[name]()}" for name in names)


def train_here(args: Namespace, *, last: bool = True) -> None:
    """Train all folds in this process, or with the ring that it is part of; if this is the `last`, say what is next."""
    with training.keep_compiled(args.xla_cache):
        load_tensorflow(verbose=args.verbose)  # after the flags: --help and a misspelt flag are answered at once
        if names := asked_lists(args):
            if not rank():
                print(list_tables(names))
            return
        join(args.hvd, partial(train, args, last=last))


def train_side_by_side(args: Namespace) -> None:
    """Train each fold in a process of its own, `--jobs` at once."""
    training.Settings.from_flags(args)  # what is wrong with them need not wait for TensorFlow
    folds = data.list_folds(args.data_path)
    one = vars(args) | {"jobs": 1}
    parts = {path.name: Namespace(**one | {"data_path": str(path)}) for path in folds}
    run_side_by_side({name: partial(train_here, part, last=False) for name, part in parts.items()}, args.jobs)
    recipe = read_json(Path(args.weights_path) / args.model / f"{folds[-1].name}_last.json")
    print(next_command(args, folds[-1], recipe["folds"]), flush=True)


def train(args: Namespace, ring: Ring, *, last: bool) -> None:
    """Train fold after fold with the ranks of `ring`."""
    settings, folds = training.read_settings(args, ring)
    shares = {"epochs": settings.pretrain_epochs, "confidence": settings.confidence}
    teachers = training.make_teachers(args.teacher, args.unlabelled_path, ring, **shares, xla=args.xla)
    # One learner for all folds of as many steps: each of its own would trace and compile anew.
    learners = lru_cache(maxsize=1)(
        partial(training.Learner, settings, ring=ring, batch_size=args.batch_size, xla=args.xla)
    )
    if args.forecast:
        ring.print(training.forecast_training(args, settings, folds, ring, learners))
        return
    recipes = [train_fold(args, settings, path, ring, learners=learners, teachers=teachers) for path in folds]
    if last:
        ring.print(next_command(args, folds[-1], recipes[-1].folds))


@dataclass
class Run:
    """The training of one fold, under way."""

    args: Namespace
    settings: training.Settings
    ring: Ring
    fold: data.Fold
    batches: training.TrainingBatches
    learner: training.Learner
    outputs: training.Outputs
    progress: training.Progress


def train_fold(
    args: Namespace, settings: training.Settings, path: Path, ring: Ring, *, learners, teachers
) -> models.Recipe:
    """Train one fold from wherever it stands to its last epoch; returns the recipe of its last weights.

    Args:
        learners: gives the learner for epochs of so many steps.
        teachers: label the tiles to pretrain on, if any.
    """
    started = time.perf_counter()
    fold, tiles, dropped = training.read_tiles(path, settings.drop, ring)
    shares = {"rank": ring.rank, "size": ring.size}
    batches = training.TrainingBatches(tiles, batch_size=args.batch_size, seed=settings.seed, **shares)
    learner = learners(len(batches))
    folders = Path(args.weights_path) / settings.model, Path(args.log_dir) / settings.model / fold.name
    outputs = training.Outputs(*folders, fold.name, learner.variables, ring)
    teacher = teachers.of(fold, outputs.folder)
    learner.restart(teachers.weights(fold, settings.model) if settings.warm_start else None)
    fresh = training.Progress(settings=settings, fingerprint=fold.fingerprint, teacher=teacher)
    with outputs.held():
        # Resume: with no state on disk, or none wanted, this is epoch 0. All ranks take the chief's values.
        progress = outputs.resume(fresh, anew=not args.resume)
        if progress.epoch == settings.epochs:
            ring.print(
                f"{fold.name}: finished before, best score {progress.best_score:.4f}; --resume=False trains anew"
            )
            return outputs.last_recipe()
        batches, progress.teacher = teachers.pretraining(fold, batches, progress)
        outputs.begin(config_text(args, "tgs_train.py"))
        ring.print(
            f"{fold.name}: {len(tiles)} tiles to train{dropped}, {len(fold.val)} to validate; "
            f"{training.describe_pretraining(progress.teacher)}{settings.model}, "
            f"epochs {progress.epoch + 1} to {settings.epochs} of "
            f"{len(batches)} steps of {ring.size} x {args.batch_size} tiles; {ring.device}; "
            f"ready after {time.perf_counter() - started:.1f} s"
        )
        run = Run(args, settings, ring, fold, batches, learner, outputs, progress)
        while progress.epoch < settings.epochs:
            recipe = train_epoch(run, progress.epoch)
            if progress.epoch < settings.epochs:
                ring.admit_newcomers()
    ring.print(
        f"{fold.name}: best score {progress.best_score:.4f} in epoch {progress.best_epoch}, last "
        f"{progress.last_score:.4f}, after {duration(progress.seconds)}; wrote {outputs}"
    )
    return recipe


def train_epoch(run: Run, epoch: int) -> models.Recipe:
    """Train, validate and save epoch number `epoch`, counted from 0; returns the recipe of its weights."""
    began = time.perf_counter()
    settings, learner, progress = run.settings, run.learner, run.progress
    title = f"{run.fold.name} epoch {epoch + 1}/{settings.epochs}"
    try:
        trained, result = learn(run, epoch, title)
        if not math.isfinite(result.loss):
            raise FloatingPointError(f"epoch {epoch + 1}, after step {len(run.batches)}: val_loss is {result.loss}")
    except FloatingPointError as error:  # found by every rank
        raise SharedError(f"{run.fold.name}, {error}; lower --learning_rate, what was saved is kept") from None

    row = {"epoch": epoch + 1, "loss": trained.loss, "val_loss": result.loss, "val_score": result.score}
    best = progress.add(row | {"learning_rate": learner.learning_rate(epoch + 1)}, time.perf_counter() - began)
    recipe = make_recipe(run)
    cycle = learner.schedule.ended(progress.epoch)
    run.outputs.save(learner.ema, recipe, progress, result, trained, cycle=cycle)
    left = settings.work(epoch + 1, settings.epochs) * progress.seconds / settings.work(0, epoch + 1)
    kind = " (pseudo-labels)" * (epoch < settings.pretrain_epochs)
    kind += f" ({settings.size(epoch)} px)" * (settings.size(epoch) < settings.target_size)
    run.ring.print(
        f"{title}: loss {trained.loss:.4f}{kind}, "
        f"val_loss {result.loss:.4f}, val_score {result.score:.4f}{' (best)' * best}, "
        f"{trained.speed:.0f} images/s, {time.perf_counter() - began:.1f} s"
        f"{f', {duration(left)} left' if left else ''}"
    )
    return recipe


def learn(run: Run, epoch: int, title: str) -> tuple[training.Epoch, training.Validation]:
    """Train an epoch, then validate, each with a bar."""
    learner, ring = run.learner, run.ring
    tiles_a_step = run.args.batch_size * ring.size
    with bar(title, len(run.batches) * tiles_a_step, "image") as shown:
        numbers = {"score": f"{run.progress.last_score:.4f}", "lr": f"{learner.learning_rate(epoch):.1e}"}
        progress = partial(show_step, shown, tiles_a_step, numbers)
        trained = learner.train_epoch(run.batches.epoch(epoch), epoch, run.settings.lovasz_share(epoch), progress)
    with bar(f"{title}, validation", len(run.fold.val)) as shown:
        counted = training.validate(
            learner.at(epoch).predictor, run.fold.val, ring, lambda count: shown.update(count * ring.size)
        )
    return trained, counted


def show_step(shown, images: int, numbers: dict[str, str], losses: list) -> None:
    """Move the bar of an epoch on by `images`, and a few times a second show the loss of a step that is surely done."""
    if not shown.disable and shown.update(images):
        loss = float(losses[max(0, len(losses) - 5)])
        shown.set_postfix({"loss": f"{loss:.4f}", **numbers}, refresh=False)


def make_recipe(run: Run) -> models.Recipe:
    """Note all that made the weights of an epoch, and all that prediction needs to rebuild their network."""
    settings, progress, schedule, pretrained = run.settings, run.progress, run.learner.schedule, run.learner.pretrained
    return models.Recipe(
        teacher=progress.teacher or None,
        model=settings.model,
        target_size=settings.size(progress.epoch - 1),  # at which they were validated
        tile_size=settings.tile(progress.epoch - 1),
        fold=run.fold.name,
        folds=run.fold.count,
        fingerprint=run.fold.fingerprint,
        epoch=progress.epoch,
        cycle=schedule.number(progress.epoch - 1),
        cycles=schedule.count,
        score=progress.last_score,
        threshold=0.5,
        train_seconds=round(progress.seconds, 1),
        processes=run.ring.size,
        pretrained=pretrained and asdict(pretrained),
        flags=vars(run.args),
        versions=models.versions(),
    )


def next_command(args: Namespace, path: Path, count: int) -> str:
    """Say what to type next: the evaluation once all `count` folds of the split have weights, until then a prediction.

    `path`: the fold that was trained last.
    """
    folder = Path(args.weights_path) / args.model
    kept = f"cycle{args.cycles}" if args.cycles > 1 else "best"
    missing = [k for k in range(count) if not (folder / f"fold_{k}_{kept}.weights.h5").is_file()]
    if missing:
        file = folder / f"{path.name}_best.weights.h5"
        line = command_line("tgs_predict.py", file_name=file, data_path=data.find_test_tiles(path))
        others = f"--data_path={shlex.quote(str(path.parent))}"
        return f"next: {line}\nor train the {len(missing)} other folds: this command with {others}"
    places = {"weights_path": args.weights_path, "folds_path": path.parent}
    elsewhere = {name: place for name, place in places.items() if str(place) != name.removesuffix("_path")}
    pick = "cycles" if args.cycles > 1 else None
    return f"next: {command_line('tgs_predict.py', oof=True, model=args.model, pick=pick, **elsewhere)}"


if __name__ == "__main__":
    run(main)
