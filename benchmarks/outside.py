"""How much of a training epoch and of a prediction passes outside the network.

On a CPU only: there a call of a compiled function returns when its work is done.
"""

import itertools
from dataclasses import replace

import numpy as np

import tgs_predict
import tgs_train
from benchmarks.material import Call, Project, clocked, clocked_networks, part, seconds, within
from benchmarks.table import Row

BATCH, STEPS, VALIDATED, PREDICTED = 16, 180, 721, 18000  # an epoch and a test set of the competition
FOLDS = 5
STUB = ("--model=tiny", "--target_size=32")  # a network that costs next to nothing


def outside_rows(rounds: int, project: Project, network: tuple[str, int]) -> list[Row]:
    """Shares of time outside of `network` (name, side in pixels), and the seconds that they consist of; CPU only.

    All that is not the network is run in full with a stub of a network; the network is then timed by itself.
    """
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):  # its calls return at once: nothing to be told apart from here
        return []
    stub, stub_saving = train_outside(rounds, project)
    step, validated, predicted, saving = network_seconds(rounds, project, network)
    outside = [a - b + c for a, b, c in zip(stub, stub_saving, saving, strict=True)]
    inside = [STEPS * a + VALIDATED * b for a, b in zip(step, validated, strict=True)]
    name = f"{network[0]}, {network[1]} px"
    epoch = f"{STEPS} steps of {BATCH} tiles and {VALIDATED} validated"
    handled, after = predict_outside(rounds, project)
    inside_prediction = [PREDICTED * FOLDS * a for a in predicted]
    shares = [a / (a + b) for a, b in zip(handled, inside_prediction, strict=True)]
    return [
        Row(
            "an epoch outside the network",
            "s",
            outside,
            note=f"measured with tiny at 32 px on {project.source}, but saving {name} in a best epoch",
        ),
        Row("of which saving", "s", saving, note=f"weights twice, state, curves, logs; {name}"),
        Row("an epoch in the network", "s", inside, note=f"{name}, {epoch}, from a few steps"),
        Row(
            "share of an epoch outside the network",
            "%",
            [100 * a / (a + b) for a, b in zip(outside, inside, strict=True)],
            1.0,
            note=f"{name}, {epoch}; the two rows above",
        ),
        Row("a prediction outside the network", "s", handled, note=f"tgs_predict.py on {project.source}, stub network"),
        Row("of which after the last batch", "s", after, 1.0, note="writing and checking the submission"),
        Row(
            f"share of predicting {PREDICTED:,} tiles outside the network",
            "%",
            [100 * share for share in shares],
            10.0,
            note=f"{FOLDS} folds of {name}, flip TTA: {np.median(inside_prediction):,.0f} s in the network",
        ),
    ]


def train_outside(rounds: int, project: Project) -> tuple[list[float], list[float]]:
    """Seconds an epoch of tgs_train.py outside the step and the validation's network; of those, in Outputs.save.

    From the first step of an epoch to the first of the next. The first epoch, which compiles, does not count.
    """
    from training.outputs import Outputs
    from training.step import TrainingStep

    flags = ("--data_path=folds/fold_0", *STUB, f"--batch_size={BATCH}", f"--epochs={rounds + 2}", "--resume=False")
    with (
        clocked(TrainingStep, "__call__") as steps,
        clocked(Outputs, "save") as saved,
        clocked_networks() as validated,
    ):
        within(project, tgs_train.main, *flags)
    return beside(rounds + 2, steps, validated, saved)


def beside(epochs: int, steps: list[Call], validated: list[Call], saved: list[Call]) -> tuple[list[float], list[float]]:
    """Of all epochs but the first and the last: seconds outside of steps and validation; of those, in saving."""
    starts = [call.start for call in steps[:: len(steps) // epochs]]
    counted = [Call(start, end) for start, end in itertools.pairwise(starts)][1:]
    outside = [epoch.seconds - sum(call.seconds for call in _inside(epoch, steps + validated)) for epoch in counted]
    return outside, [call.seconds for epoch in counted for call in _inside(epoch, saved)]


def _inside(whole: Call, calls: list[Call]) -> list[Call]:
    return [call for call in calls if whole.start <= call.start < whole.end]


def network_seconds(rounds: int, project: Project, network: tuple[str, int]) -> tuple[list[float], ...]:
    """Seconds of a step, a tile validated, a tile predicted by one fold with TTA, and of saving an epoch."""
    from common.ring.single import SingleProcess
    from data.folds.fold import read_fold
    from models.geometry import Geometry
    from models.predictor import Predictor
    from models.weights import Recipe
    from training.batches import TrainingBatches
    from training.learner import Epoch, Learner
    from training.outputs import Outputs
    from training.settings import Settings
    from training.state import Progress
    from training.step import TrainingStep
    from training.validation import validate

    tiles = part(read_fold(project.folder / "folds/fold_0").train, (1 + rounds) * BATCH)
    name, size = network
    ring, batches = SingleProcess(), TrainingBatches(tiles, batch_size=BATCH, seed=1)
    learner = Learner(Settings(model=name, target_size=size), STEPS, ring, batch_size=BATCH)
    with clocked(TrainingStep, "__call__") as steps:
        while len(steps) < 1 + rounds:
            learner.train_epoch(batches.epoch(0), 0, 0.0)
    some = part(tiles, 2 * BATCH)
    result = validate(learner.predictor, some, ring)
    validated = [s / len(some) for s in seconds(lambda: learner.predictor(some.images), rounds)]
    predictor = Predictor([(learner.ema, Geometry(size))], batch_size=BATCH, tta=True)
    predicted = [s / BATCH for s in seconds(lambda: predictor(some.images[:BATCH]), rounds)]

    places = (project.folder / "weights" / name, project.folder / "logs" / name)
    outputs = Outputs(*places, "benchmark", learner.variables, ring)
    trained = Epoch(0.5, 1.0, np.ones(STEPS), np.ones(STEPS))
    progress = Progress()
    of_split = {"fold": "benchmark", "folds": 1, "fingerprint": ""}
    recipe = Recipe(model=name, target_size=size, epoch=0, score=0.5, threshold=0.5, **of_split)

    def save():
        number = progress.epoch + 1
        row = {"epoch": number, "loss": 0.5, "val_loss": 0.5, "val_score": number / 100, "learning_rate": 1e-3}
        progress.add(row, 1.0)
        outputs.save(learner.ema, replace(recipe, epoch=number), progress, result, trained)

    with outputs.held():
        saving = seconds(save, rounds)
    return [call.seconds for call in steps[1 : 1 + rounds]], validated, predicted, saving


def predict_outside(rounds: int, project: Project) -> tuple[list[float], list[float]]:
    """Seconds of tgs_predict.py outside the network, loading it apart, for the project's tiles; of those, at the end.

    With the weights that train_outside has left, and in the competition's number of tiles.
    """
    outside, after = [], []
    for _ in range(rounds):
        flags = ("--file_name=weights/tiny/fold_0_best.weights.h5", "--data_path=tgs")
        with (
            clocked(tgs_predict, "predict") as whole,
            clocked(tgs_predict, "load") as loaded,
            clocked_networks() as calls,
        ):
            within(project, tgs_predict.main, *flags)
        inside = sum(call.seconds for call in [*loaded, *calls])
        outside.append(whole[0].seconds - inside)
        after.append(whole[0].end - calls[-1].end)
    return outside, after
