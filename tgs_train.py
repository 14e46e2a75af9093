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

import math
import time
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path

from common.backend import load_tensorflow
from common.command import rank, run
from common.errors import SharedError
from common.flags import Parser, config_text, number
from common.progress import bar, duration
from common.surroundings import shared_settings
from training.compile_cache import compile_cache

LOVASZ_START, LOVASZ_SHARE = 0.3, 0.9  # from this part of the epochs on, this share of the loss
# Flags that may differ between the machines of a ring.
PLACES = ("data_path", "weights_path", "log_dir", "teacher", "unlabelled_path", "xla_cache", "config", "verbose")
# Flags that do not shape the result, or may change between a run and its resumption.
FREE_FLAGS = (*PLACES, "resume", "hvd", "batch_size", "xla")


def parser(hvd: bool) -> Parser:
    p = Parser(__doc__)
    p.group("what is trained")
    p.option("data_path", "folds/fold_0", "a fold, or the folder of all folds", metavar="PATH")
    p.option("model", "resnet34", "network, with parts a sum like resnet34+scse; list: shows them", metavar="NAME")
    size = number(int, 32, 1024)
    p.option("target_size", 128, "side of its input in pixels, a multiple of 32", type=size, metavar="N")
    p.option("encoder_weights", None, "ImageNet weights: imagenet, timm/NAME, or a file", metavar="PATH")
    p.option("drop", "none", "training tiles to leave out, a sum like black+tiny; list: shows them", metavar="NAME")
    p.group("how")
    p.option("epochs", 90, "passes over the training tiles", type=number(int, 1, 100000), metavar="N")
    p.option("batch_size", 16, "tiles a step and process", type=number(int, 1, 4096), metavar="N")
    rate = "AdamW's peak rate for one process; times sqrt(processes) in a ring"
    p.option("learning_rate", 1e-3, rate, type=number(float, 1e-9, 10), metavar="X")
    warmup = "epochs of linear warm-up, then cosine decay to 0"
    p.option("warmup_epochs", 5, warmup, type=number(int, 0, 100000), metavar="N")
    cycles = "cosine cycles of equal length; with several each one's end is kept, for tgs_predict.py --pick=cycles"
    p.option("cycles", 1, cycles, type=number(int, 1, 1000), metavar="N")
    p.option("weight_decay", 0.05, "AdamW's decoupled weight decay", type=number(float, 0, 10), metavar="X")
    p.option("loss", "bce", "a loss, or a sum like bce+dice; list: shows them", metavar="NAME")
    p.flag("use_lovasz", True, "after 30 %% of the epochs 0.9 symmetric Lovász + 0.1 --loss (default: True)")
    p.option("augment", "warp+light", "augmentations, or none; list: shows them", metavar="NAME")
    p.option("ema_decay", 0.999, "decay a step of the weights' moving average", type=number(float, 0, 1), metavar="X")
    swa = "part of the last cycle's epochs over which that average is the equal mean of all steps (SWA)"
    p.option("swa", 0.0, swa, type=number(float, 0, 1), metavar="X")
    p.option("seed", 1, "seed of weights, order and augmentation", type=number(int, 0, 2**31 - 1), metavar="N")
    p.group("self-training")
    teacher = "pretrain on tiles without labels, as the weights in this folder (of an earlier round) label them"
    p.option("teacher", None, teacher, metavar="FOLDER")
    p.option("unlabelled_path", "data/tgs", "those tiles: a folder with test/images, or of tiles", metavar="PATH")
    sure = "share of its pixels that the teacher must be sure of, or a tile is left out"
    p.option("confidence", 0.9, sure, type=number(float, 0, 1), metavar="X")
    pretrain = "of the epochs, how many pretrain, in a cycle of their own (default: half of them)"
    p.option("pretrain_epochs", None, pretrain, type=number(int, 1, 100000), metavar="N")
    p.group("on which machine, and where to")
    p.flag("mixed_precision", False, "compute in bfloat16 (default: False)")
    p.flag("xla", None, "compile with XLA (default: on a GPU)")
    p.option("xla_cache", None, "keep what XLA compiles here, for later runs", metavar="PATH")
    p.flag("resume", True, "go on where the last run stopped (default: True)")
    p.option("weights_path", "weights", "where weights go", metavar="PATH")
    p.option("log_dir", "logs", "where logs go", metavar="PATH")
    p.flag("hvd", hvd, f"join the ring that mpirun started (default: {hvd})")
    return p


def main(argv: list[str] | None = None, *, hvd: bool = False) -> list[dict]:
    """Train the folds that the flags name; returns the recipe of each fold's last weights."""
    args = parser(hvd).parse_args(argv)

    with compile_cache(args.xla_cache):
        load_tensorflow(verbose=args.verbose)  # after the flags: --help and a misspelt flag are answered at once
        from common.ring.join import join

        if table := listed(args):
            if not rank():
                print(table)
            return []
        return join(args.hvd, partial(train, args))


def listed(args) -> str:
    """The names that a flag given as `list` can have, and what they are; "" when none is."""
    from models.losses import list_losses
    from models.unet import list_models
    from training.augment.augmenter import list_augmentations
    from training.cleaning import list_rules

    lists = {"model": list_models, "loss": list_losses, "augment": list_augmentations, "drop": list_rules}
    return "\n".join(f"--{name}\n{names()}" for name, names in lists.items() if getattr(args, name) == "list")


def train(args, ring) -> list[dict]:
    """Train fold after fold with the ranks of `ring`."""
    from data.folds.fold import list_folds
    from models.weights import versions
    from training.self_training import Teachers

    folds = ring.on_all(lambda: list_folds(args.data_path))
    shape = ring.on_all(lambda: shaping(args))
    facts = {f"flag --{name}": value for name, value in vars(args).items() if name not in PLACES}
    facts |= {name: value for name, value in versions().items() if name != "commit"}  # the code itself says more
    facts["flag --pretrain_epochs"] = shape["pretrain_epochs"]  # whether there is a teacher, too
    ring.check_same(facts | shared_settings() | {"folds": [fold.name for fold in folds]})
    places = {"folder": args.teacher, "unlabelled_path": args.unlabelled_path}
    teachers = Teachers(**places, epochs=shape["pretrain_epochs"], confidence=args.confidence, ring=ring, xla=args.xla)
    # One learner for all folds of as many steps: each of its own would trace and compile anew.
    learners = lru_cache(maxsize=1)(partial(make_learner, args, ring))
    recipes = []
    for path in folds:
        with ExitStack() as stack:
            recipes.append(train_fold(args, path, ring, stack=stack, learners=learners, teachers=teachers))
    ring.print(next_command(args, recipes[-1]))
    return recipes


def shaping(args) -> dict:
    """The flags that shape the result."""
    from training.self_training import pretrain_epochs

    pretraining = pretrain_epochs(args.epochs, args.teacher, args.pretrain_epochs)
    flags = {name: value for name, value in vars(args).items() if name not in FREE_FLAGS}
    return flags | {"pretrain_epochs": pretraining}


def make_learner(args, ring, steps: int):
    """Build network, optimizer and step for epochs of `steps` steps."""
    from training.learner import Learner

    flags = {name: value for name, value in shaping(args).items() if name not in ("use_lovasz", "drop", "confidence")}
    build = partial(Learner, steps=steps, batch_size=args.batch_size, ring=ring, xla=args.xla)
    return ring.on_all(lambda: build(**flags))


def train_fold(args, path: Path, ring, *, stack: ExitStack, learners, teachers) -> dict:
    """Train one fold from wherever it stands to its last epoch; returns the recipe of its last weights.

    Args:
        stack: takes what the run holds for itself alone, for the caller to let go.
        learners: gives the learner for epochs of so many steps.
        teachers: label the tiles to pretrain on, if any.
    """
    from data.folds.fold import read_fold
    from training.batches import TrainingBatches
    from training.cleaning import clean
    from training.outputs import Outputs
    from training.state import Progress
    from training.validation import validate

    started = time.perf_counter()
    fold = ring.on_all(lambda: read_fold(path))
    ring.check_same({"split": fold.fingerprint, "content of tiles": fold.digest})
    kept, dropped = ring.on_all(lambda: clean(fold.train, args.drop))
    batches = TrainingBatches(kept, batch_size=args.batch_size, seed=args.seed, rank=ring.rank, size=ring.size)
    learner = learners(len(batches))
    learner.restart()

    # Resume: with no state on disk, or none wanted, this is epoch 0. Then all ranks take the chief's values.
    places = Path(args.weights_path) / args.model, Path(args.log_dir) / args.model / fold.name
    outputs = Outputs(*places, fold.name, learner.variables)
    fresh = Progress(flags=shaping(args), fingerprint=fold.fingerprint, teacher=teachers.of(fold, places[0]))
    ring.on_chief(lambda: outputs.hold(stack))
    progress = Progress(**ring.on_chief(lambda: vars(outputs.resume(fresh) if args.resume else fresh)))
    ring.broadcast(learner.variables)
    if progress.epoch == args.epochs:
        ring.print(f"{fold.name}: finished before, best score {progress.best_score:.4f}; --resume=False trains anew")
        return ring.on_chief(outputs.last_recipe)
    batches, progress.teacher = teachers.pretraining(fold, batches, progress)
    ring.on_chief(lambda: outputs.begin(config_text(args, "tgs_train.py")))
    tiles = len(batches) * args.batch_size * ring.size  # trained on in an epoch
    ring.print(
        f"{fold.name}: {len(kept)} tiles to train{dropped}, {len(fold.val)} to validate; "
        f"{teachers.told(progress.teacher)}{args.model}, epochs {progress.epoch + 1} to {args.epochs} of "
        f"{len(batches)} steps of {ring.size} x {args.batch_size} tiles; {ring.device}; "
        f"ready after {time.perf_counter() - started:.1f} s"
    )

    for epoch in range(progress.epoch, args.epochs):
        began = time.perf_counter()
        title = f"{fold.name} epoch {epoch + 1}/{args.epochs}"
        share = (LOVASZ_SHARE if epoch >= LOVASZ_START * args.epochs else 0.0) if args.use_lovasz else None
        try:
            with bar(title, tiles, "image") as shown:
                numbers = {"score": f"{progress.last_score:.4f}", "lr": f"{learner.learning_rate(epoch):.1e}"}
                on_step = partial(show_step, shown, tiles // len(batches), numbers)
                trained = learner.train_epoch(batches.epoch(epoch), epoch, share, on_step)
            with bar(f"{title}, validation", len(fold.val)) as shown:
                result = validate(learner.predictor, fold.val, ring, lambda count: shown.update(count * ring.size))
            if not math.isfinite(result.loss):
                raise FloatingPointError(f"epoch {epoch + 1}, after step {len(batches)}: val_loss is {result.loss}")
        except FloatingPointError as error:  # found by every rank
            raise SharedError(f"{fold.name}, {error}; lower --learning_rate, what was saved is kept") from None

        row = {"epoch": epoch + 1, "loss": trained.loss, "val_loss": result.loss, "val_score": result.score}
        best = progress.add(row | {"learning_rate": learner.learning_rate(epoch + 1)}, time.perf_counter() - began)
        recipe = make_recipe(args, fold, ring, progress, learner.schedule)
        save = partial(outputs.save, cycle=learner.schedule.ended(progress.epoch))
        ring.on_chief(partial(save, learner.ema, recipe, progress, result, trained))
        left = (args.epochs - progress.epoch) * progress.seconds / progress.epoch
        ring.print(
            f"{title}: loss {trained.loss:.4f}{' (pseudo-labels)' * (epoch < teachers.epochs)}, "
            f"val_loss {result.loss:.4f}, val_score {result.score:.4f}{' (best)' if best else ''}, "
            f"{trained.speed:.0f} images/s, {time.perf_counter() - began:.1f} s"
            f"{f', {duration(left)} left' if left else ''}"
        )
        if epoch + 1 < args.epochs:
            ring.admit_newcomers()

    ring.print(
        f"{fold.name}: best score {progress.best_score:.4f} in epoch {progress.best_epoch}, last "
        f"{progress.last_score:.4f}, after {duration(progress.seconds)}; wrote {outputs}"
    )
    return recipe


def show_step(shown, images: int, numbers: dict[str, str], losses: list) -> None:
    """Move the bar of an epoch on by `images`, and a few times a second show the loss of a step that is surely done."""
    if not shown.disable and shown.update(images):
        loss = float(losses[max(0, len(losses) - 5)])
        shown.set_postfix({"loss": f"{loss:.4f}", **numbers}, refresh=False)


def make_recipe(args, fold, ring, progress, schedule) -> dict:
    """All that made the weights of an epoch, and all that prediction needs to rebuild their network."""
    from models.weights import versions

    return ({"teacher": progress.teacher} if progress.teacher else {}) | {
        "model": args.model,
        "target_size": args.target_size,
        "fold": fold.name,
        "folds": fold.count,
        "fingerprint": fold.fingerprint,
        "epoch": progress.epoch,
        "cycle": schedule.number(progress.epoch - 1),
        "cycles": schedule.count,
        "score": progress.last_score,
        "threshold": 0.5,
        "train_seconds": round(progress.seconds, 1),
        "processes": ring.size,
        "flags": vars(args),
        "versions": versions(),
    }


def next_command(args, recipe: dict) -> str:
    """What to type next: the evaluation once every fold of the split has weights, until then one fold's prediction."""
    folder = Path(args.weights_path) / args.model
    kept = f"cycle{args.cycles}" if args.cycles > 1 else "best"
    missing = [k for k in range(recipe["folds"]) if not (folder / f"fold_{k}_{kept}.weights.h5").is_file()]
    if missing:
        return (
            f"next: python tgs_predict.py --file_name={folder}/{recipe['fold']}_best.weights.h5, "
            f"or train the {len(missing)} other folds: this command with --data_path={Path(args.data_path).parent}"
        )
    elsewhere = "" if args.weights_path == "weights" else f" --weights_path={args.weights_path}"
    return (
        f"next: python tgs_predict.py --oof=True --model={args.model}{' --pick=cycles' * (args.cycles > 1)}{elsewhere}"
    )


if __name__ == "__main__":
    run(main)
