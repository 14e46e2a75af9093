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

# ---- for two cores and an evening: ImageNet weights, small first; a change at a time on fold_0, then five folds -----

LITE = "efficientnet_lite0+scse+hypercolumn"
LIGHT = {
    "model": LITE,
    "encoder_weights": "imagenet",
    "epochs": 20,
    "small_epochs": 12,
    "seed": 1,
}
LAPTOP = (
    Experiment("base", flags=LIGHT, folds=1, group="none", pick="last"),
    Experiment("base-seed2", "base", {"seed": 2}),
    Experiment("warmup-1", "base", {"warmup_epochs": 1}),
    # against overfitting, which val_loss shows
    Experiment("warp2", "base", {"augment": "warp2+light"}),
    Experiment("elastic", "base", {"augment": "warp+elastic+light"}),
    Experiment("gamma", "base", {"augment": "warp+light+gamma"}),
    Experiment("cutout", "base", {"augment": "warp+light+cutout"}),
    Experiment("dropout", "base", {"model": f"{LITE}+dropout"}),
    Experiment("droppath", "base", {"model": "efficientnet_lite0+droppath+scse+hypercolumn"}),
    Experiment("drop", "base", {"drop": "black+tiny+vertical"}),
    # the optimizer
    Experiment("rate-2e-3", "base", {"learning_rate": 2e-3}),
    Experiment("rate-5e-4", "base", {"learning_rate": 5e-4}),
    Experiment("encoder-0.3", "base", {"encoder_rate": 0.3}),
    Experiment("decay-0.2", "base", {"weight_decay": 0.2}),
    Experiment("decay-0.01", "base", {"weight_decay": 0.01}),
    Experiment("batch-8", "base", {"batch_size": 8}),
    Experiment("batch-32", "base", {"batch_size": 32}),
    Experiment("ema-0.997", "base", {"ema_decay": 0.997}),
    Experiment("ema-0.9995", "base", {"ema_decay": 0.9995}),
    # the loss
    Experiment("lovasz-0", "base", {"lovasz_start": 0}),
    Experiment("lovasz-0.6", "base", {"lovasz_start": 0.6}),
    Experiment("plain-loss", "base", {"use_lovasz": False}),
    Experiment("deep", "base", {"model": f"{LITE}+deep"}),
    # the input and the network
    Experiment("96-px", "base", {"target_size": 96}),
    Experiment("128-px-filled", "base", {"tile_size": 128}),
    Experiment("160-px", "base", {"target_size": 160, "tile_size": 126}),
    Experiment("192-px", "base", {"target_size": 192, "tile_size": 152}),
    Experiment(
        "nopool",
        "base",
        {"model": "efficientnet_lite0+nopool+scse+hypercolumn", "target_size": 64, "small_size": 32},
    ),
    Experiment("lite1", "base", {"model": "efficientnet_lite1+scse+hypercolumn"}),
    Experiment("lite2", "base", {"model": "efficientnet_lite2+scse+hypercolumn"}),
    # how long, and what is averaged
    Experiment("swa", "base", {"swa": 0.25}),
    Experiment("all-large", "base", {"small_epochs": 0}),
    Experiment("long", "base", {"epochs": 40, "small_epochs": 20}),
    Experiment("cycles", "long", {"cycles": 2}, pick="cycles"),
    # five folds: an hour in all, three, eight, and as long as it takes
    Experiment("hour", "base", folds=5),
    Experiment("evening", "long", folds=5),
    Experiment("evening-mosaic", "evening", group="mosaic"),  # what of it is a leak
    Experiment("night", "evening", {"epochs": 80, "small_epochs": 30, "cycles": 2}, pick="cycles"),
    Experiment("taught", "evening", teacher="evening"),
    Experiment("taught-cycles", "night", teacher="taught"),
)

SETS: dict[str, tuple[Experiment, ...]] = {"gpu": GPU, "cpu": CPU, "laptop": LAPTOP}
