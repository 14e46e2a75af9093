"""A single process, with the methods of a ring: averages are what they were, broadcasts do nothing."""

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import tensorflow as tf

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
        """Run `job` on the chief; every rank gets its result, which JSON must be able to hold, or its InputError."""
        return job()

    def everywhere(self, job: Callable[[], T]) -> T:
        """Run `job` on every rank; each gets its own result, or all of them the first rank's InputError."""
        return job()

    def agree(self, facts: Callable[[], Mapping[str, object]]) -> None:
        """InputError, naming the rank and the fact, unless every rank has the chief's facts (JSON must hold them)."""

    def end_epoch(self) -> None:
        """Let an elastic ring take in who has come: every rank is between two epochs, and what it did is saved."""

    def watch(self) -> None:
        """End this process when another rank no longer answers."""

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

    @property
    def device(self) -> str:
        """What this process computes on, in words."""
        gpus = tf.config.get_visible_devices("GPU")
        if not gpus:
            return f"CPU, {len(os.sched_getaffinity(0))} cores"
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))

    def print(self, text: str) -> None:
        """Print on the chief only."""
        if self.chief:
            print(text, flush=True)
