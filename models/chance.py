"""Chance in a training step: a function of seed and step only, so that a resumed run repeats with the same bits.

    with chance(seed, step, batch, ring) as source:
        model(images, training=True)      # its Drop layers draw from the source

Numbers are drawn for the global batch, of which a rank takes its part: all ranks differ, and a ring of N draws as one
process with N times the batch does. Keras' own layers count their calls instead, each rank for itself.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import tensorflow as tf
from keras import layers

from common.ring.base import Ring


@dataclass(frozen=True)
class Chance:
    """The random numbers of a step (int32 scalar, counted from 0) for this rank's `batch` tiles."""

    seed: int
    step: tf.Tensor
    batch: int
    rank: int
    size: int

    def draw(self, shape: tuple[int, ...], stream: str = "") -> tf.Tensor:
        """Uniform float32 (batch, *shape) in [0, 1): others in each named stream, the same with XLA and without."""
        key = (zlib.crc32(stream.encode()) >> 1 << 32) + self.seed  # below 2^63, seeds being below 2^31
        seed = tf.stack([tf.constant(key, tf.int64), tf.cast(self.step, tf.int64)])
        # What tf.random.stateless_uniform makes of the bits for floats is another thing under XLA; the bits agree.
        bits = tf.random.stateless_uniform((self.size * self.batch, *shape), seed, None, None, tf.uint32, alg="philox")
        return tf.cast(bits[self.rank * self.batch : (self.rank + 1) * self.batch] // 256, tf.float32) / 2.0**24


_open: ContextVar[Chance | None] = ContextVar("chance", default=None)


@contextmanager
def chance(seed: int, step: tf.Tensor, batch: int, ring: Ring) -> Iterator[Chance]:
    """Let the layers called inside draw; seed 0..2^31 - 1, `batch` tiles on each rank of `ring`."""
    token = _open.set(Chance(seed, step, batch, ring.rank, ring.size))
    try:
        yield _open.get()
    finally:
        _open.reset(token)


class Drop(layers.Layer):
    """Sets whole channels of a tile, or all of it, to zero at a rate 0..1, and scales what stays to the same mean.

    Outside of `chance`, as in prediction, it passes its input on.
    """

    def __init__(self, rate: float, *, channels: bool, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.channels = rate, channels

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        source = _open.get()
        if not training or source is None:
            return x
        draws = source.draw((1, 1, x.shape[-1] if self.channels else 1), self.name)  # (B, 1, 1, C or 1)
        return x * tf.cast(tf.cast(draws >= self.rate, tf.float32) / (1.0 - self.rate), x.dtype)
