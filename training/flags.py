"""The flags of a training. Imports nothing heavy, for `--help`'s sake."""

from common.flags import Parser, number, numbers
from training.settings import Settings


def training_parser(description: str | None, hvd: bool) -> Parser:
    """Make the parser of tgs_train.py or, with `hvd`, of tgs_train_ring.py."""
    p, d = Parser(description), Settings()  # the settings' own defaults
    add_training_flags(p, d)
    p.group("self-training")
    teacher = "pretrain on tiles without labels, as the weights in this folder (of an earlier round) label them"
    p.option("teacher", None, teacher, metavar="FOLDER")
    p.option("unlabelled_path", "data/tgs", "those tiles: a folder with test/images, or of tiles", metavar="PATH")
    sure = "share of its pixels that the teacher must be sure of, or a tile is left out"
    p.option("confidence", d.confidence, sure, type=number(float, 0, 1), metavar="X")
    pretrain = "of the epochs, how many pretrain, in a cycle of their own (default: half of them)"
    p.option("pretrain_epochs", None, pretrain, type=number(int, 1, 100000), metavar="N")
    warm = "begin with the teacher's weights, not with new ones or --encoder_weights (default: False)"
    p.flag("warm_start", d.warm_start, warm)
    p.group("on which machine, and where to")
    p.flag("mixed_precision", d.mixed_precision, "compute in bfloat16 (default: False)")
    p.flag("xla", None, "compile with XLA (default: on a GPU)")
    p.option("xla_cache", None, "keep what XLA compiles here, for later runs", metavar="PATH")
    p.flag("forecast", False, "time a few steps, say how long what is left takes here, train nothing (default: False)")
    p.flag("resume", True, "go on where the last run stopped (default: True)")
    p.option("weights_path", "weights", "where weights go", metavar="PATH")
    p.option("log_dir", "logs", "where logs go", metavar="PATH")
    jobs = "folds trained at once on a CPU, each by a process on its share of the cores"
    p.option("jobs", 1, jobs, type=number(int, 1, 1024), metavar="N")
    p.flag("hvd", hvd, f"join the ring that mpirun started (default: {hvd})")
    return p


def add_training_flags(p: Parser, d: Settings) -> None:
    """Add the flags of what is trained, and how; `d` are their defaults."""
    p.group("what is trained")
    p.option("data_path", "folds/fold_0", "a fold, or the folder of all folds", metavar="PATH")
    p.option("model", d.model, "network, with parts a sum like resnet34+scse; list: shows them", metavar="NAME")
    p.option(
        "target_size",
        d.target_size,
        "side of its input in pixels, a multiple of 32",
        type=number(int, 32, 1024),
        metavar="N",
    )
    tile = "side of the tile in it (default: the largest multiple of 101 that fits; below 101: all of it)"
    p.option("tile_size", d.tile_size, tile, type=number(int, 32, 1024), metavar="N")
    small = "of the epochs, how many come first at --small_size, in one cosine with those that follow"
    small += "; or several numbers, as in 12,13, one for each --small_size"
    p.option("small_epochs", d.small_epochs, small, type=numbers(int, 0, 100000), metavar="N")
    small = "side of the input in those, a multiple of 32 below --target_size; or several that grow, as in 64,128"
    p.option("small_size", d.small_size, small, type=numbers(int, 32, 1024), metavar="N")
    p.option("encoder_weights", d.encoder_weights, "ImageNet weights: imagenet, timm/NAME, or a file", metavar="PATH")
    p.option("drop", d.drop, "training tiles to leave out, a sum like black+tiny; list: shows them", metavar="NAME")
    p.group("how")
    p.option("epochs", d.epochs, "passes over the training tiles", type=number(int, 1, 100000), metavar="N")
    p.option("batch_size", 16, "tiles a step and process", type=number(int, 1, 4096), metavar="N")
    rate = "AdamW's peak rate for one process; times sqrt(processes) in a ring"
    p.option("learning_rate", d.learning_rate, rate, type=number(float, 1e-9, 10), metavar="X")
    encoder = "times that rate for the encoder, whose weights may be trained already"
    p.option("encoder_rate", d.encoder_rate, encoder, type=number(float, 0, 10), metavar="X")
    warmup = "epochs of linear warm-up, then cosine decay to 0"
    p.option("warmup_epochs", d.warmup_epochs, warmup, type=number(int, 0, 100000), metavar="N")
    cycles = "cosine cycles of equal length; with several each one's end is kept, for tgs_predict.py --pick=cycles"
    p.option("cycles", d.cycles, cycles, type=number(int, 1, 1000), metavar="N")
    p.option("weight_decay", d.weight_decay, "AdamW's decoupled weight decay", type=number(float, 0, 10), metavar="X")
    p.option("loss", d.loss, "a loss, or a sum like bce+dice; list: shows them", metavar="NAME")
    p.flag("use_lovasz", d.use_lovasz, "in later epochs 0.9 symmetric Lovász + 0.1 --loss (default: True)")
    start = "part of the epochs after which it comes in"
    p.option("lovasz_start", d.lovasz_start, start, type=number(float, 0, 1), metavar="X")
    p.option("augment", d.augment, "augmentations, or none; list: shows them", metavar="NAME")
    ema = "decay a step of the weights' moving average"
    p.option("ema_decay", d.ema_decay, ema, type=number(float, 0, 1), metavar="X")
    swa = "part of the last cycle's epochs over which that average is the equal mean of all steps (SWA)"
    p.option("swa", d.swa, swa, type=number(float, 0, 1), metavar="X")
    p.option("seed", d.seed, "seed of weights, order and augmentation", type=number(int, 0, 2**31 - 1), metavar="N")
