"""The input pipeline: uint8 batches from memory, shuffled anew each epoch, a share for each rank."""

import numpy as np
import tensorflow as tf

from data.tiles import TileSet


class TrainingBatches:
    """Training batches of one rank.

    Each epoch is one seeded permutation of all tiles, cut into global batches of size x batch_size; rank r takes the
    r-th part of each. So N ranks see the same global batches as one process with N times the batch, every rank runs
    the same number of steps, and no tile is seen by two ranks in one epoch. The tiles left over by the last whole
    global batch wait for another epoch's permutation.

    With `steps` an epoch is so many, of one permutation after another, each begun where the epoch before has left it:
    every tile is seen before any is seen again, over as many epochs as that takes.
    """

    def __init__(
        self, tiles: TileSet, *, batch_size: int, seed: int, rank: int = 0, size: int = 1, steps: int | None = None
    ):
        self._steps = steps
        self._count, self._batch, self._seed, self._rank, self._size = len(tiles), batch_size, seed, rank, size
        with tf.device("cpu"):
            self._images, self._masks = tf.constant(tiles.images), tf.constant(tiles.masks)

    def of_others(self, tiles: TileSet) -> "TrainingBatches":
        """Make batches of other tiles, of as many steps an epoch."""
        settings = {"batch_size": self._batch, "seed": self._seed, "rank": self._rank, "size": self._size}
        return TrainingBatches(tiles, **settings, steps=len(self))

    def __len__(self) -> int:
        """Count the steps of an epoch, at least one."""
        return self._steps or max(1, self._count // (self._batch * self._size))

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """Give the batches of epoch number `epoch`: images uint8 (B, 101, 101), masks uint8 {0, 1} (B, 101, 101)."""
        order = self._order(epoch, len(self) * self._size * self._batch)
        order = order.reshape(len(self), self._size, self._batch)[:, self._rank]  # (steps, B)
        # Nothing is left to tune here, and the end of a tuned pipeline can wait for its tuner's next look: for seconds.
        options = tf.data.Options()
        options.autotune.enabled = False
        return (
            tf.data.Dataset.from_tensor_slices(order)
            .map(lambda rows: (tf.gather(self._images, rows), tf.gather(self._masks, rows)))
            .prefetch(4)
            .with_options(options)
        )

    def _order(self, epoch: int, count: int) -> np.ndarray:
        """List the `count` tiles of an epoch, (count,)."""
        if self._steps is None:
            return np.resize(self._permutation(epoch), count)  # repeats if they are too few
        start = epoch * count
        first, last = start // self._count, (start + count - 1) // self._count
        order = np.concatenate([self._permutation(k) for k in range(first, last + 1)])
        return order[start - first * self._count :][:count]

    def _permutation(self, number: int) -> np.ndarray:
        return np.random.default_rng((self._seed, number)).permutation(self._count)


class Pretraining:
    """Batches of pseudo-labelled tiles in the first `epochs` epochs, of labelled ones in those that follow."""

    def __init__(self, pseudo_labelled: TrainingBatches, labelled: TrainingBatches, epochs: int):
        """Join two, which have the same number of steps."""
        self._first, self._then, self._epochs = pseudo_labelled, labelled, epochs

    def __len__(self) -> int:
        """Count the steps of an epoch."""
        return len(self._then)

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """Give those of epoch number `epoch`, as TrainingBatches does."""
        return (self._first if epoch < self._epochs else self._then).epoch(epoch)
