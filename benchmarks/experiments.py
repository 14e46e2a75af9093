"""Which trainings `benchmarks.accuracy` compares, cheapest first: each is another one with a few flags changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Experiment:
    """Flags of tgs_train.py, and how its weights are judged out of fold.

    Args:
        against: name of the experiment that this one starts from, whose flags it takes over but for `flags`.
        folds: how many of the five folds are trained, fold_0 first; None as in `against`.
        group: "none" or "mosaic", how the folds were made; None as in `against`.
        pick: which weights are judged, "last" or "cycles"; None as in `against`.
        teacher: name of the experiment whose weights make pseudo-labels.
    """

    name: str
    against: str | None = None
    flags: Mapping[str, object] = field(default_factory=dict)
    folds: int | None = None
    group: str | None = None
    pick: str | None = None
    teacher: str | None = None


# ---- for a GPU: one fold and 60 epochs; first what is noise (two seeds), then a change at a time; then five folds ----

SHORT = {"model": "resnet34", "epochs": 60, "batch_size": 64, "mixed_precision": True, "seed": 1}
STRONG = "resnet34+nopool+scse+hypercolumn"
GPU = (
    Experiment("base", flags=SHORT, folds=1, group="none", pick="last"),
    Experiment("base-seed2", "base", {"seed": 2}),
    Experiment("nopool", "base", {"model": "resnet34+nopool"}),
    Experiment("scse", "nopool", {"model": "resnet34+nopool+scse"}),
    Experiment("hypercolumn", "nopool", {"model": "resnet34+nopool+hypercolumn"}),
    Experiment("strong", "nopool", {"model": STRONG}),
    Experiment("strong-seed2", "strong", {"seed": 2}),
    Experiment("droppath", "strong", {"model": "resnet34+nopool+droppath+scse+hypercolumn"}),
    Experiment("dropout", "strong", {"model": f"{STRONG}+dropout"}),
    Experiment("deep", "strong", {"model": f"{STRONG}+deep"}),
    Experiment("elastic", "strong", {"augment": "warp+elastic+light"}),
    Experiment("gamma", "strong", {"augment": "warp+light+gamma"}),
    Experiment("cutout", "strong", {"augment": "warp+light+cutout"}),
    Experiment("plain-loss", "strong", {"use_lovasz": False}),
    Experiment("swa", "strong", {"swa": 0.25}),
    Experiment("drop", "strong", {"drop": "black+tiny+vertical"}),
    Experiment("resnet18", "strong", {"model": "resnet18+nopool+scse+hypercolumn"}),
    Experiment("resnet50", "strong", {"model": "resnet50+nopool+scse+hypercolumn"}),
    Experiment("seresnet34", "strong", {"model": "seresnet34+nopool+scse+hypercolumn"}),
    Experiment("efficientnetv2_b0", "strong", {"model": "efficientnetv2_b0+scse+hypercolumn"}),
    Experiment("imagenet", "strong", {"encoder_weights": "timm/resnet34.a1_in1k"}),
    Experiment("long", "strong", {"epochs": 280}),
    Experiment("scratch", "long", folds=5),  # the one that is to reach .850
    Experiment("scratch-mosaic", "scratch", group="mosaic"),  # what of it is a leak
    Experiment("cycles", "scratch", {"cycles": 4}, pick="cycles"),
    Experiment("round1", "scratch", teacher="scratch"),
    Experiment("round2", "scratch", teacher="round1"),
    Experiment("scratch-imagenet", "scratch", {"encoder_weights": "timm/resnet34.a1_in1k"}),
)

# ---- for two cores: minutes a row, and so a network and an input too small to compete -------------------------------

SMALL = {"model": "tiny", "target_size": 64, "epochs": 12, "seed": 1}
CPU = (
    Experiment("base", flags=SMALL, folds=5, group="none", pick="last"),
    Experiment("mosaic", "base", group="mosaic"),
    Experiment("lite0", "base", {"model": "efficientnet_lite0", "epochs": 6}, folds=1),
    Experiment("lite0-imagenet", "lite0", {"encoder_weights": "imagenet"}),
    Experiment("lite0-imagenet-seed2", "lite0-imagenet", {"seed": 2}),
    Experiment("lite0-parts", "lite0-imagenet", {"model": "efficientnet_lite0+scse+hypercolumn"}),
    Experiment("base-seed2", "base", {"seed": 2}),
    Experiment("mosaic-seed2", "mosaic", {"seed": 2}),
)

# ---- for two cores and an evening: ImageNet weights; a change at a time, small, on fold_0; large; then five folds ----

LITE = "efficientnet_lite0+scse+hypercolumn"
SUBPIXEL2 = "efficientnet_lite2+subpixel+scse+hypercolumn+deep"
LIGHT = {"model": LITE, "encoder_weights": "imagenet", "target_size": 64, "epochs": 12, "warmup_epochs": 1, "seed": 1}
ROUND = {  # of self-training, for a network that has learnt before
    "warm_start": True,
    "epochs": 28,
    "pretrain_epochs": 12,
    "small_epochs": 0,
    "learning_rate": 1e-3,
    "lovasz_start": 0,
}
LAPTOP = (
    Experiment("small", flags=LIGHT, folds=1, group="none", pick="last"),
    Experiment("small-seed2", "small", {"seed": 2}),
    # the optimizer
    Experiment("batch-8", "small", {"batch_size": 8}),
    Experiment("batch-32", "small", {"batch_size": 32}),
    Experiment("rate-2e-3", "small", {"learning_rate": 2e-3}),
    Experiment("rate-5e-4", "small", {"learning_rate": 5e-4}),
    Experiment("encoder-0.3", "small", {"encoder_rate": 0.3}),
    Experiment("warmup-5", "small", {"warmup_epochs": 5}),
    Experiment("decay-0.2", "small", {"weight_decay": 0.2}),
    Experiment("decay-0.01", "small", {"weight_decay": 0.01}),
    # of 2,160 steps the average is younger than decays above 0.9958 would have it
    Experiment("ema-0.99", "small", {"ema_decay": 0.99}),
    # the loss
    Experiment("lovasz-0", "small", {"lovasz_start": 0}),
    Experiment("lovasz-0.6", "small", {"lovasz_start": 0.6}),
    Experiment("plain-loss", "small", {"use_lovasz": False}),
    Experiment("bce-dice", "small", {"loss": "bce+dice"}),
    Experiment("deep", "small", {"model": f"{LITE}+deep"}),
    # the tiles, and what is done to them
    Experiment("drop", "small", {"drop": "black+tiny+vertical"}),
    Experiment("warp2", "small", {"augment": "warp2+light"}),
    Experiment("warp", "small", {"augment": "warp"}),
    Experiment("elastic", "small", {"augment": "warp+elastic+light"}),
    Experiment("gamma", "small", {"augment": "warp+light+gamma"}),
    Experiment("cutout", "small", {"augment": "warp+light+cutout"}),
    Experiment("cutmix", "small", {"augment": "warp+light+cutmix"}),
    # the network
    Experiment("dropout", "small", {"model": f"{LITE}+dropout"}),
    Experiment("droppath", "small", {"model": "efficientnet_lite0+droppath+scse+hypercolumn"}),
    Experiment("plain", "small", {"model": "efficientnet_lite0"}),
    Experiment("nopool", "small", {"model": "efficientnet_lite0+nopool+scse+hypercolumn"}),
    Experiment("subpixel", "rate-2e-3", {"model": "efficientnet_lite0+subpixel+scse+hypercolumn"}),
    Experiment("lite1", "small", {"model": "efficientnet_lite1+scse+hypercolumn"}),
    Experiment("lite2", "small", {"model": "efficientnet_lite2+scse+hypercolumn"}),
    # small first, large later: at which size, how the tile fills it, in which share of the time
    Experiment("large", "small", {"target_size": 128, "epochs": 20, "small_epochs": 12}),
    Experiment("large-seed2", "large", {"seed": 2}),
    Experiment("large-96", "large", {"target_size": 96, "epochs": 26}),
    Experiment("large-96-seed2", "large-96", {"seed": 2}),
    Experiment("large-96-late", "large-96", {"epochs": 29, "small_epochs": 20, "learning_rate": 2e-3}),
    Experiment("large-96-deep", "large-96", {"model": f"{LITE}+deep"}),
    Experiment("large-96-warp2", "large-96", {"augment": "warp2+light"}),
    Experiment("large-96-dropout", "large-96", {"model": f"{LITE}+dropout"}),
    Experiment("large-filled", "large", {"tile_size": 128}),
    Experiment("large-160", "large", {"target_size": 160, "tile_size": 160, "epochs": 17}),
    Experiment("large-192", "large", {"target_size": 192, "tile_size": 192, "epochs": 16}),
    Experiment("large-only", "large", {"epochs": 12, "small_epochs": 0}),
    # longer: what keeps from learning by heart, and what is averaged; first at 64 px
    Experiment("small-40", "small", {"epochs": 40, "learning_rate": 2e-3, "mixed_precision": True}),
    Experiment("small-40-cutmix", "small-40", {"augment": "warp+light+cutmix"}),
    Experiment("small-40-cutout", "small-40", {"augment": "warp+light+cutout"}),
    Experiment("small-40-warp2", "small-40", {"augment": "warp2+light"}),
    Experiment("small-40-elastic", "small-40", {"augment": "warp+elastic+light"}),
    Experiment("small-40-dropout", "small-40", {"model": f"{LITE}+dropout"}),
    Experiment("small-40-droppath", "small-40", {"model": "efficientnet_lite0+droppath+scse+hypercolumn"}),
    Experiment("small-40-deep", "small-40", {"model": f"{LITE}+deep"}),
    Experiment("small-40-all", "small-40", {"model": f"{LITE}+dropout", "augment": "warp2+elastic+light+cutout"}),
    Experiment("small-40-swa", "small-40", {"swa": 0.25}),
    Experiment("long", "large-96", {"epochs": 60, "learning_rate": 2e-3}),
    Experiment("long-filled", "large-filled", {"epochs": 40, "small_epochs": 14, "learning_rate": 2e-3}),
    Experiment("long-filled-cycles", "long-filled", {"epochs": 44, "cycles": 3}),
    # five folds: an hour in all
    Experiment("hour-2e-3", "large-96", {"epochs": 22, "small_epochs": 10, "learning_rate": 2e-3, "jobs": 2}, folds=5),
    Experiment("hour", "large-96", {"epochs": 23, "small_epochs": 9, "jobs": 2}, folds=5),
    Experiment("hour-late", "large-96-late", {"epochs": 27, "small_epochs": 18, "jobs": 2}, folds=5),
    Experiment(
        "one-hour",
        "hour-late",
        {
            "model": SUBPIXEL2,
            "target_size": 128,
            "tile_size": 128,
            "small_size": "64,96",
            "small_epochs": "8,6",
            "epochs": 20,
            "mixed_precision": True,
        },
    ),
    # three hours, the mean of two cycles at 192 px; what of it is a leak; eight hours, of seven
    Experiment(
        "three-hours",
        "one-hour",
        {
            "target_size": 192,
            "tile_size": 192,
            "small_size": "64,96,128",
            "small_epochs": "7,7,7",
            "epochs": 33,
            "cycles": 2,
        },
        pick="cycles",
    ),
    Experiment("three-hours-mosaic", "three-hours", group="mosaic"),
    # Lovász comes in after the same ten epochs
    Experiment("eight-hours", "three-hours", {"epochs": 63, "cycles": 7, "lovasz_start": 0.157}),
    # self-training, on fold_0
    Experiment("long-taught", "long", teacher="hour-2e-3"),
    # with a teacher of an hour; in cycles; at three sizes
    Experiment("evening", "hour-late", ROUND, teacher="hour-late"),
    Experiment(
        "evening-cycles",
        "long-filled-cycles",
        {"model": f"{LITE}+deep", "epochs": 38, "small_epochs": 12, "cycles": 2, "mixed_precision": True, "jobs": 2},
        folds=5,
    ),
    Experiment(
        "evening-large",
        "evening-cycles",
        {
            "model": "efficientnet_lite0+subpixel+scse+hypercolumn+deep",
            "target_size": 192,
            "tile_size": 192,
            "small_size": "64,128",
            "small_epochs": "12,14",
            "epochs": 36,
            "cycles": 1,
        },
    ),
    # more cycles at 192 px; Lovász comes in after the same eleven epochs
    Experiment("night-large", "evening-large", {"epochs": 56, "cycles": 3, "lovasz_start": 0.19}),
)

SETS: dict[str, tuple[Experiment, ...]] = {"gpu": GPU, "cpu": CPU, "laptop": LAPTOP}
