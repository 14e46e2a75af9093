"""One process or many: `Solo` and `Ring` have the same methods, every rank calls them, and the callee decides.

A ring (Horovod under MPI) averages gradients with one grouped allreduce a step. Horovod's DistributedOptimizer does
nothing under Keras 3 (no error, no allreduce), which is why the training step calls `average` itself.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import tensorflow as tf

from data.errors import InputError

T = TypeVar("T")


class Solo:
    """A single process: averages are what they were, broadcasts do nothing."""

    rank, size, local_rank, local_size = 0, 1, 0, 1

    @property
    def chief(self) -> bool:
        """True on the one rank that writes and prints."""
        return self.rank == 0

    def average(self, tensors: list[tf.Tensor], name: str) -> list[tf.Tensor]:
        """Mean over ranks of each tensor; all ranks pass the same shapes in the same order, under a fixed `name`."""
        return tensors

    def sum(self, values: np.ndarray, name: str) -> np.ndarray:
        """Sum over ranks of a float64 array."""
        return np.asarray(values, np.float64)

    def broadcast(self, variables: list[tf.Variable]) -> None:
        """Give every rank the chief's values."""

    def on_chief(self, job: Callable[[], T]) -> T:
        """Run `job` on the chief; every rank gets its result, or its InputError."""
        return job()

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def claim_device(self) -> None:
        """Take this process's GPU (one per local rank, memory as needed) or its share of the cores.

        Must run before TensorFlow touches a device.
        """
        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            mine = gpus[self.local_rank % len(gpus)]
            tf.config.set_visible_devices(mine, "GPU")
            tf.config.experimental.set_memory_growth(mine, True)
        elif self.local_size > 1:
            threads = max(1, len(os.sched_getaffinity(0)) // self.local_size)
            tf.config.threading.set_intra_op_parallelism_threads(threads)

    def print(self, text: str) -> None:
        """Print on the chief only."""
        if self.chief:
            print(text, flush=True)


class Ring(Solo):
    """One of several processes, joined by Horovod."""

    def __init__(self):
        try:
            import horovod.tensorflow as hvd
        except ImportError as error:
            raise InputError(
                f"Horovod is not installed ({error}); run ./install_horovod.sh, or train with tgs_train.py"
            ) from None
        hvd.init()
        self._hvd = hvd
        self.rank, self.size = hvd.rank(), hvd.size()
        self.local_rank, self.local_size = hvd.local_rank(), hvd.local_size()

    def average(self, tensors: list[tf.Tensor], name: str) -> list[tf.Tensor]:
        """Mean over ranks, in one grouped allreduce; without a fixed name ranks can wait for each other for ever."""
        return self._hvd.grouped_allreduce(tensors, op=self._hvd.Average, name=f"HorovodAllreduce_{name}")

    def sum(self, values: np.ndarray, name: str) -> np.ndarray:
        """Sum over ranks, in float64."""
        total = self._hvd.allreduce(tf.constant(values, tf.float64), op=self._hvd.Sum, name=f"HorovodAllreduce_{name}")
        return total.numpy()

    def broadcast(self, variables: list[tf.Variable]) -> None:
        """Give every rank the chief's values."""
        self._hvd.broadcast_variables(variables, root_rank=0)

    def on_chief(self, job: Callable[[], T]) -> T:
        """Run `job` on the chief; every rank gets its result, or its InputError: one line, no hang or traceback."""
        result, error = None, None
        if self.chief:
            try:
                result = job()
            except InputError as refused:
                error = refused
        result, error = self._hvd.broadcast_object((result, error), root_rank=0)
        if error:
            raise error
        return result

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.sum(np.zeros(1), "barrier")
