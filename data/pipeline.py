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
    """

    def __init__(self, tiles: TileSet, *, batch_size: int, seed: int, rank: int = 0, size: int = 1):
        self._count, self._batch, self._seed, self._rank, self._size = len(tiles), batch_size, seed, rank, size
        with tf.device("cpu"):
            self._images, self._masks = tf.constant(tiles.images), tf.constant(tiles.masks)

    def __len__(self) -> int:
        """Steps an epoch, at least one."""
        return max(1, self._count // (self._batch * self._size))

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """Batches of epoch number `epoch`: images uint8 (B, 101, 101), masks uint8 {0, 1} (B, 101, 101)."""
        order = np.random.default_rng((self._seed, epoch)).permutation(self._count)
        order = np.resize(order, (len(self), self._size, self._batch))[:, self._rank]  # (steps, B); repeats if too few
        # Nothing is left to tune here, and the end of a tuned pipeline can wait for its tuner's next look: for seconds.
        options = tf.data.Options()
        options.autotune.enabled = False
        return (
            tf.data.Dataset.from_tensor_slices(order)
            .map(lambda rows: (tf.gather(self._images, rows), tf.gather(self._masks, rows)))
            .prefetch(4)
            .with_options(options)
        )
