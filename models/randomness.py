"""Random numbers of a training step, by seed and step alone, so that a resumed run repeats with the same bits.

    with step_random(seed, step, batch, ring) as source:
        model(images, training=True)      # its DropPath and SpatialDropout layers draw from the source

Numbers are drawn for the global batch, of which a rank takes its part: all ranks differ, and a ring of N draws as one
process with N times the batch does. Keras' own layers count their calls instead, each rank for itself.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf
from keras import layers


class Ranks(Protocol):
    """What is needed of a ring."""

    rank: int
    size: int


@dataclass(frozen=True)
class StepRandom:
    """The random numbers of a step (int32 scalar, counted from 0) for this rank's `batch` tiles."""

    seed: int
    step: tf.Tensor
    batch: int
    rank: int
    size: int

    def draw(self, shape: tuple[int, ...], stream: str = "") -> tf.Tensor:
        """Draw uniform float32 (batch, *shape) in [0, 1): others in each named stream, equal with XLA and without."""
        key = (zlib.crc32(stream.encode()) >> 1 << 32) + self.seed  # below 2^63, seeds being below 2^31
        seed = tf.stack([tf.constant(key, tf.int64), tf.cast(self.step, tf.int64)])
        # What tf.random.stateless_uniform makes of the bits for floats is another thing under XLA; the bits agree.
        bits = tf.random.stateless_uniform((self.size * self.batch, *shape), seed, None, None, tf.uint32, alg="philox")
        return tf.cast(bits[self.rank * self.batch : (self.rank + 1) * self.batch] // 256, tf.float32) / 2.0**24


_open: ContextVar[StepRandom | None] = ContextVar("step_random", default=None)


@contextmanager
def step_random(seed: int, step: tf.Tensor, batch: int, ring: Ranks) -> Iterator[StepRandom]:
    """Let the layers called inside draw; seed 0..2^31 - 1, `batch` tiles on each rank of `ring`."""
    token = _open.set(StepRandom(seed, step, batch, ring.rank, ring.size))
    try:
        yield _open.get()
    finally:
        _open.reset(token)


class _Drop(layers.Layer):
    """Sets a tile's features, or whole channels of them, to zero at a rate 0..1, and scales the rest to the same mean.

    Outside of `step_random`, as in prediction, it passes its input on.
    """

    by_channel: bool

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        source = _open.get()
        if not training or source is None:
            return x
        draws = source.draw((1, 1, x.shape[-1] if self.by_channel else 1), self.name)  # (B, 1, 1, C or 1)
        return x * tf.cast(tf.cast(draws >= self.rate, tf.float32) / (1.0 - self.rate), x.dtype)


class DropPath(_Drop):
    """Stochastic depth: drops all features of a tile (Huang et al., 2016, arXiv:1603.09382)."""

    by_channel = False


class SpatialDropout(_Drop):
    """Drops channels of a tile, each by itself (Tompson et al., 2015, arXiv:1411.4280)."""

    by_channel = True
