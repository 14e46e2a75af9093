"""What a single process and a ring of many have in common: every rank calls each method, the callee decides."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import tensorflow as tf

from common.device import claim_device, device_name

T = TypeVar("T")


class Ring(ABC):
    """The processes that compute together, of which this one is number `rank`, from 0, of `size`."""

    rank, size, local_rank, local_size = 0, 1, 0, 1
    compiles = False  # whether `average` may be a part of a compiled function

    @property
    def chief(self) -> bool:
        """True on the one rank that writes and prints."""
        return self.rank == 0

    @abstractmethod
    def average(self, tensors: list[tf.Tensor], name: str) -> list[tf.Tensor]:
        """Average each tensor over ranks; all pass the same shapes in the same order, under a fixed `name`."""

    @abstractmethod
    def sum(self, values: np.ndarray, name: str) -> np.ndarray:
        """Add up a float64 array over ranks."""

    @abstractmethod
    def broadcast(self, variables: list[tf.Variable]) -> None:
        """Give every rank the chief's values."""

    @abstractmethod
    def on_chief(self, job: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Call `job` on the chief; every rank gets its result, which JSON must be able to hold, or its InputError."""

    @abstractmethod
    def on_all(self, job: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Call `job` on every rank; each gets its own result, or all of them the first rank's InputError."""

    @abstractmethod
    def check_same(self, facts: Mapping[str, object]) -> None:
        """Raise an InputError that names rank and fact unless all have the chief's facts, which JSON must hold."""

    @abstractmethod
    def admit_newcomers(self) -> None:
        """Let an elastic ring take in who has come: every rank is between two epochs, and what it did is saved."""

    def claim_device(self, threads: int | None = None) -> None:
        """Take this process's GPU, one a local rank, or its share of the cores, before TensorFlow touches a device.

        `threads`: of an operation on a CPU, instead of that share.
        """
        claim_device(self.local_rank, self.local_size, threads)

    @property
    def device(self) -> str:
        """Name what this process computes on."""
        return device_name()

    def print(self, text: str) -> None:
        """Print on the chief only."""
        if self.chief:
            print(text, flush=True)
