"""From tiles to salt probabilities: test-time augmentation and the average over models, in one compiled function."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

from data.tiles import TILE
from models.geometry import Geometry
from models.unet import logits_only

T = TypeVar("T")


class Predictor:
    """Mean salt probability of one or several models."""

    def __init__(
        self,
        models: Sequence[tuple[keras.Model, Geometry]],
        *,
        shares: Sequence[float] | None = None,
        batch_size: int = 32,
        tta: bool = False,
        xla: bool = False,
    ):
        """Prepare one function; `shares` weigh the models (equal by default), `tta` averages mirror images."""
        self.batch_size, self.tta = batch_size, tta
        self.models = [(logits_only(model), geometry) for model, geometry in models]
        shares = np.ones(len(self.models)) if shares is None else np.asarray(shares, float)
        self._shares = [float(share) for share in shares / shares.sum()]
        self._run = tf.function(self.probabilities, jit_compile=xla, autograph=False)

    def __call__(self, images: np.ndarray, progress: Callable[[int], object] = lambda count: None) -> np.ndarray:
        """Predict tiles uint8 (N, 101, 101): float32 (N, 101, 101), 0..1; `progress` is told each count."""
        result = np.empty((len(images), TILE, TILE), np.float32)
        batches = ((start, images[start : start + self.batch_size]) for start in range(0, len(images), self.batch_size))
        for start, _, probabilities in self.each(batches):
            result[start : start + len(probabilities)] = probabilities
            progress(len(probabilities))
        return result

    def each(self, batches: Iterable[tuple[T, np.ndarray]]) -> Iterator[tuple[T, np.ndarray, np.ndarray]]:
        """Predict one batch after another, each of 1 to `batch_size` tiles: name and images in, and probabilities, out.

        A GPU is given a batch before the one ahead of it is fetched: it works while the caller does.
        """
        running = deque()
        for name, images in batches:
            # A short last batch is filled up: another shape would be compiled anew.
            filled = np.resize(images, (self.batch_size, TILE, TILE))
            running.append((name, images, self._run(tf.constant(filled))))
            if len(running) > 1:
                yield self._done(*running.popleft())
        for batch in running:
            yield self._done(*batch)

    @staticmethod
    def _done(name: T, images: np.ndarray, probabilities: tf.Tensor) -> tuple[T, np.ndarray, np.ndarray]:
        return name, images, probabilities.numpy()[: len(images)]

    def probabilities(self, images: tf.Tensor) -> tf.Tensor:
        """Compute a batch, in the graph: uint8 (B, 101, 101) -> float32 (B, 101, 101)."""
        views = [(images, False), (images[:, :, ::-1], True)] if self.tta else [(images, False)]
        total = 0.0
        for (model, geometry), share in zip(self.models, self._shares, strict=True):
            for view, mirrored in views:
                logits = model(geometry.place(view), training=False)  # (B, S, S, 1)
                probabilities = tf.sigmoid(geometry.to_tile(logits))  # (B, 101, 101)
                total += share / len(views) * (probabilities[:, :, ::-1] if mirrored else probabilities)
        return total


class SharedPredictor(Predictor):
    """A predictor whose batches the ranks of a ring share; each rank gets what one process gets, to the bit."""

    def __init__(self, predictor: Predictor, ring):
        """Share `predictor`: all ranks ask for the same batches in one order, `ring` adds up what each has found."""
        self.predictor, self.ring = predictor, ring
        self.batch_size, self.tta = predictor.batch_size, predictor.tta

    def each(self, batches: Iterable[tuple[T, np.ndarray]]) -> Iterator[tuple[T, np.ndarray, np.ndarray]]:
        """Predict one batch after another: of as many as there are ranks each takes one."""
        batches = iter(batches)
        while group := list(islice(batches, self.ring.size)):
            found = np.zeros((self.ring.size, self.batch_size, TILE, TILE))
            for _, own in group[self.ring.rank : self.ring.rank + 1]:
                found[self.ring.rank, : len(own)] = self.predictor(own)
            found = self.ring.sum(found, "probabilities").astype(np.float32)  # zeros but for one rank's: exact
            for (name, images), probabilities in zip(group, found, strict=False):
                yield name, images, probabilities[: len(images)]


def share(predictor: Predictor, ring) -> Predictor:
    """Give the predictor itself in a single process, in a ring one whose batches the ranks share."""
    return predictor if ring is None or ring.size == 1 else SharedPredictor(predictor, ring)
