"""Disks that fill up, and what a training writes to them."""

import contextlib
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from common.ring.single import SingleProcess
from models.weights import load_model
from tests.helpers.jobs import state
from tests.helpers.training import RECIPE
from training.learner import Epoch
from training.outputs import Outputs
from training.state import Progress
from training.validation import Validation

EXAMPLES = np.random.default_rng(1).integers(0, 256, (606, 303), np.uint8)  # does not compress
TRAINED = Epoch(1.0, 100.0, np.ones(1), np.ones(1))
KB = 1024


class Disk:
    """A small disk of its own."""

    def __init__(self, path: Path):
        self.path = path

    def leave(self, free: int) -> None:
        """Fill it but for so many bytes; whole pages of 4 KiB."""
        self.filling.unlink(missing_ok=True)
        status = os.statvfs(self.path)
        with open(self.filling, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(status.f_bavail * status.f_frsize - free, 1))

    @property
    def filling(self) -> Path:
        return self.path / "filling"


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let the system refuse this process larger files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Run:
    """The files of a training, without its computation: `save` is what happens at the end of an epoch."""

    def __init__(self, weights: Path, logs: Path, model: keras.Model, scores: tuple[float, ...] = ()):
        self.weights, self.model, self.progress = weights, model, Progress()
        self.variables = [v.value for v in model.variables] * 4  # weights, average and two moments
        self.outputs = Outputs(weights, logs, "fold_0", self.variables, SingleProcess())
        with self.outputs.held():
            pass
        for score in scores:
            self.save(score)

    def save(self, score: float) -> None:
        """One more epoch."""
        epoch = self.progress.epoch + 1
        self.model.get_layer("logits").bias.assign([float(epoch)])
        row = {"epoch": epoch, "loss": 1.0, "val_loss": 1.0, "val_score": score, "learning_rate": 0.1}
        self.progress.add(row, 1.0)
        recipe = replace(RECIPE, epoch=epoch, score=score)
        self.outputs.save(self.model, recipe, self.progress, Validation(score, 1.0, EXAMPLES), TRAINED)

    def found(self) -> tuple[int, int, int]:
        """Epoch of the best and of the last weights and of the state, each read back whole."""
        epochs = []
        for pick in ("best", "last"):
            loaded, recipe = load_model(self.weights / f"fold_0_{pick}.weights.h5")
            assert loaded.get_layer("logits").bias.numpy() == [recipe.epoch]
            epochs.append(recipe.epoch)
        return *epochs, state(self.weights)[0]["epoch"]

    def assert_no_temporary(self) -> None:
        assert not list(self.weights.rglob(".*"))
