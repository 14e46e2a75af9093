"""Time to score beside the peer: the same fold, the same encoder weights, the same machine, one after the other.

python -m benchmarks.race --only=64      # the peer's 6 epochs at 64 px, and ours to that score
python -m benchmarks.race                # all of RACES; what has its file in --results_path is not run again
python -m benchmarks.race --figure=docs/coverage.png    # and the last one's scores by coverage class, drawn

Counted are seconds of training; after each epoch the fold's validation tiles are scored by the competition's metric on
both sides, mirror image averaged, threshold 0.5. Ours is the first epoch whose score is the peer's last, or above.
"""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.accuracy import ROOT
from common.backend import load_tensorflow
from common.command import run
from common.errors import InputError
from common.figures import ACCENT, FAINT, default_style, save_figure
from common.files import make_folder, read_json, write_json
from common.flags import Parser

PEER = ROOT / "benchmarks/.venv/bin/python"
BATCH = 16


@dataclass(frozen=True)
class Race:
    """What the peer trains: `model` at `size` pixels for `epochs`; `ours`: flags of tgs_train.py."""

    model: str
    size: int
    epochs: int
    ours: tuple[str, ...]


LITE = ("--model=efficientnet_lite0+scse+hypercolumn", "--encoder_weights=imagenet")
RACES = {
    "64": Race("efficientnet_lite0", 64, 6, (*LITE, "--target_size=64", "--epochs=5", "--warmup_epochs=1")),
    "128": Race(
        "efficientnet_lite0",
        128,
        20,
        (*LITE, "--target_size=96", "--epochs=27", "--small_epochs=18", "--warmup_epochs=1", "--learning_rate=0.002"),
    ),
}


def parser() -> Parser:
    p = Parser(__doc__)
    p.group("what is measured")
    p.option("only", "", f"one of {', '.join(RACES)}", metavar="NAME")
    p.option("data_path", "folds/fold_0", "the fold", metavar="PATH")
    p.option("peer", str(PEER), "the peer's interpreter, as make bench installs it", metavar="FILE")
    p.option("work_path", "accuracy/race", "where what passes between the two goes", metavar="PATH")
    p.option("figure", None, "draw the last race's scores by coverage class here", metavar="FILE")
    p.option("results_path", str(ROOT / "benchmarks/results"), "where race_NAME.json goes", metavar="PATH")
    return p


def main(argv: list[str] | None = None) -> list[dict]:
    """Run what has no file yet; returns all that was asked for, and prints a table of it."""
    args = parser().parse_args(argv)
    chosen = {name: race for name, race in RACES.items() if args.only in ("", name)}
    if not chosen:
        raise InputError(f"no race '{args.only}'; choose from {', '.join(RACES)}")
    load_tensorflow(verbose=args.verbose)
    from data import read_fold

    results, found = make_folder(Path(args.results_path)), []
    for name, race in chosen.items():
        path = results / f"race_{name}.json"
        if not path.is_file():
            write_json(path, measure(name, race, read_fold(args.data_path), args))
        found.append(read_json(path))
    print(table(found))
    if args.figure:
        draw_coverage(args.figure, found[-1])
    return found


def measure(name: str, race: Race, fold, args) -> dict:
    """Let both sides train; returns their curves and who was where when."""
    from benchmarks import machine

    facts, work = machine.facts(), make_folder(Path(args.work_path))
    bfloat16 = any(name.endswith("bf16") for name in facts["isa"])  # ours is faster in float32 in any case
    passed = work / f"{name}_material.npz", work / f"{name}_peer.json"
    epochs = {
        "peer": train_peer(race, fold, args.peer, *passed, bfloat16=bfloat16),
        "ours": train_ours(race, fold),
    }
    curves = {
        side: [{"seconds": round(seconds, 1), "score": scored(fold, masks)} for seconds, masks in each]
        for side, each in epochs.items()
    }
    coverage = {side: covered(fold, each[-1][1]) for side, each in epochs.items()}
    network = {"name": name, "model": race.model, "size": race.size, "flags": race.ours}
    return network | curves | {"coverage": coverage} | summary(curves["peer"], curves["ours"]) | facts


def train_peer(
    race: Race, fold, interpreter: str, material: Path, curve: Path, *, bfloat16: bool
) -> list[tuple[float, np.ndarray]]:
    """Train the peer in its own environment, in its faster precision; a curve that is whole is not trained again.

    Returns seconds of training so far and the validation tiles' masks after each epoch.
    """
    if not curve.is_file() or len(json.loads(curve.read_text())) < race.epochs:
        np.savez(material, images=fold.train.images, masks=fold.train.masks, val=fold.val.images,
                 **encoder_weights(race.model))  # fmt: skip
        settings = {"model": race.model, "size": race.size, "epochs": race.epochs, "batch": BATCH, "seed": 1}
        settings["bfloat16"] = bfloat16
        line = [interpreter, "-m", "benchmarks.race_peer", material.resolve(), curve.resolve(), json.dumps(settings)]
        if subprocess.run(line, cwd=ROOT, check=False).returncode:
            raise InputError(f"the peer's training failed, above is why; {interpreter} is its interpreter (make bench)")
    shape = fold.val.masks.shape
    return [(epoch["seconds"], unpacked(epoch["masks"], shape)) for epoch in json.loads(curve.read_text())]


def encoder_weights(model: str) -> dict[str, np.ndarray]:
    """The encoder's ImageNet weights that ours begins with, by timm's names behind "encoder."."""
    from models.pretrained.load import load_encoder
    from models.unet import make_model

    net = make_model(model.partition("+")[0], 64)
    load_encoder(net, "imagenet")
    found = {}
    for layer in net.layers:
        if layer.name.startswith("encoder.") and layer.weights:
            norm = len(layer.weights) == 4
            names = ("weight", "bias", "running_mean", "running_var") if norm else ("weight",)
            for key, value in zip(names, layer.get_weights(), strict=True):
                depthwise = value.ndim == 4 and type(layer).__name__ == "DepthwiseConv2D"
                order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
                found[f"{layer.name}.{key}"] = np.ascontiguousarray(
                    value.transpose(order) if value.ndim == 4 else value
                )
    return found


def train_ours(race: Race, fold) -> list[tuple[float, np.ndarray]]:
    """Train as tgs_train.py does with the race's flags, in this process; returns what train_peer does."""
    import tgs_train
    from common.ring import SingleProcess
    from models.predictor import Predictor
    from training import Learner, Settings, TrainingBatches

    settings = Settings.from_flags(tgs_train.parser(False).parse_args(race.ours))
    batches = TrainingBatches(fold.train, batch_size=BATCH, seed=settings.seed)
    learner = Learner(settings, len(batches), SingleProcess(), batch_size=BATCH)
    found, seconds = [], 0.0
    for epoch in range(settings.epochs):
        started = time.perf_counter()
        learner.train_epoch(batches.epoch(epoch), epoch, settings.lovasz_share(epoch))
        seconds += time.perf_counter() - started
        mirrored = Predictor(learner.at(epoch).predictor.models, batch_size=BATCH, tta=True)
        found.append((seconds, mirrored(fold.val.images) > 0.5))
        print(f"ours, epoch {epoch + 1}/{settings.epochs}: {scored(fold, found[-1][1])}, {seconds:.0f} s", flush=True)
    return found


def unpacked(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """Masks bool of this shape, of the hexadecimal digits that race_peer writes."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=int(np.prod(shape)))
    return bits.reshape(shape).astype(bool)


def scored(fold, masks: np.ndarray) -> float:
    """The competition's score of the validation tiles' masks."""
    from models.metrics import score

    return round(float(score(fold.val.masks, masks)), 4)


def covered(fold, masks: np.ndarray) -> dict[str, dict]:
    """Tiles and mean score of each class of coverage."""
    from models.evaluation import by_coverage
    from models.metrics import points

    found = by_coverage(fold.val.masks, points(fold.val.masks, masks) / 10)
    return {str(name): {"tiles": int(row["tiles"]), "score": round(row["score"], 4)} for name, row in found.iterrows()}


@default_style()
def draw_coverage(path: str | Path, race: dict) -> None:
    """Draw a race's last scores by coverage class, ours beside the peer's."""
    figure = Figure(figsize=(7, 3.6), dpi=90, layout="constrained")
    axes, height = figure.add_subplot(), 0.4
    classes = list(race["coverage"]["ours"])
    for k, (side, colour) in enumerate((("ours", ACCENT), ("peer", FAINT))):
        scores = [race["coverage"][side][name]["score"] for name in classes]
        places = np.arange(len(classes)) + (0.5 - k) * height
        told = f"{side}, {race[side][-1]['score']:.4f} after {race[side][-1]['seconds']:.0f} s of training"
        axes.barh(places, scores, height, color=colour, edgecolor="black", linewidth=0.8, label=told)
    axes.set_yticks(range(len(classes)), [f"{name} ({race['coverage']['ours'][name]['tiles']})" for name in classes])
    axes.set(xlim=(0, 1), xlabel="mean score (0 to 1)", ylabel="salt coverage (tiles)")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    save_figure(figure, path)


def summary(peer: list[dict], ours: list[dict]) -> dict:
    """The peer's last score and its seconds, ours to that score (None: not reached), and their ratio."""
    score, seconds = peer[-1]["score"], peer[-1]["seconds"]
    reached = next((epoch["seconds"] for epoch in ours if epoch["score"] >= score), None)
    ratio = reached and round(reached / seconds, 3)
    return {"score": score, "peer_seconds": seconds, "our_seconds": reached, "of_its_time": ratio}


def table(races: list[dict]) -> str:
    """The races in Markdown."""
    lines = ["| peer | its score, seconds | ours reaches it after | of its time | our last score, seconds | on |"]
    lines.append("|---" * 6 + "|")
    for race in races:
        reached = "not reached" if race["our_seconds"] is None else f"{race['our_seconds']:.0f} s"
        ratio = "" if race["of_its_time"] is None else f"{race['of_its_time']:.2f}"
        last = f"{race['ours'][-1]['score']:.4f}, {race['ours'][-1]['seconds']:.0f} s"
        cells = [f"{race['model']}, {race['size']} px, {len(race['peer'])} epochs",
                 f"{race['score']:.4f}, {race['peer_seconds']:.0f} s", reached, ratio, last,
                 f"{race['cores']} cores, {race['cpu']}"]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
