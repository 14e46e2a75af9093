"""The learning rate over a training: linear warm-up, then cosine cycles, each from the peak down to 0."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import tensorflow as tf

from common.errors import InputError
from training.settings import Settings

REFINE = 0.5  # of the peak: where the cycles begin that follow on a smaller size


class Cycle(NamedTuple):
    """A part of the training with a cosine of its own: `epochs` epochs of `steps` steps, from `share` of the peak."""

    epochs: int
    steps: int
    share: float = 1.0


def equal_cycles(epochs: int, cycles: int, steps: int, after: int = 0) -> list[Cycle]:
    """Cut `epochs` epochs of `steps` steps into `cycles` cycles of equal length; what is left over goes to the first.

    `after`: epochs that come before them, for the message.

    Raises:
        InputError: more cycles than epochs.
    """
    each, left = divmod(epochs, cycles)
    if not each:
        told = f" after the first {after}, which are smaller or pretrain" if after else ""
        raise InputError(
            f"--cycles={cycles} need an epoch each, --epochs={epochs + after} are too few{told}; ask for fewer cycles"
        )
    return [Cycle(each + (left if k == 0 else 0), steps) for k in range(cycles)]


def make_schedule(settings: Settings, steps: int, processes: int) -> "CosineCycles":
    """Plan the rate of a training of `steps` steps an epoch.

    Epochs that pretrain are a cycle of their own before the others, and not counted. Those at a small size are part
    of the first cycle that is: the rate falls once over all sizes, and is low where each epoch costs most.

    A ring's batch is `processes` times larger; Adam's step then grows with the root (Malladi et al., 2022,
    arXiv:2205.10287), and the warm-up keeps the first steps small.
    """
    pretrain, small = settings.pretrain_epochs, [end for end, _ in settings.small]
    full = max(pretrain, *small, 0)  # epochs done where those at the full size begin
    first, *others = equal_cycles(settings.epochs - full, settings.cycles, steps, after=full)
    before = [Cycle(pretrain, steps)] if pretrain else []
    cycles = [*before, first._replace(epochs=first.epochs + full - pretrain), *others]
    begins = accumulate((cycle.epochs for cycle in cycles), initial=0)
    refined = [bool(small) and small[0] <= begin for begin in begins]
    return CosineCycles(
        [cycle._replace(share=REFINE if late else 1.0) for cycle, late in zip(cycles, refined, strict=False)],
        settings.learning_rate * math.sqrt(processes),
        warmup_epochs=settings.warmup_epochs,
        uncounted=len(before),
    )


class CosineCycles:
    """The learning rate at a step: SGDR (Loshchilov and Hutter, 2017, arXiv:1608.03983), with cycles of any lengths.

    Each restarts at its share of the peak. What a cycle ends with makes a member of a snapshot ensemble (Huang et al.,
    2017, arXiv:1704.00109). `ends`: epochs done at the end of each cycle.
    """

    def __init__(self, cycles: Sequence[Cycle], peak: float, *, warmup_epochs: int = 0, uncounted: int = 0):
        """The warm-up is part of the first cycle, of which it leaves an epoch at least to the cosine.

        The first `uncounted` cycles have number 0, and `count` is of the others.
        """
        self._cycles, self._peaks = tuple(cycles), [cycle.share * peak for cycle in cycles]
        self.ends = tuple(accumulate(cycle.epochs for cycle in cycles))
        self._uncounted = uncounted
        self.count = len(cycles) - self._uncounted
        self._starts = (0, *accumulate(cycle.epochs * cycle.steps for cycle in cycles))  # the last is the end of all
        first = cycles[0]
        self._warmup = min(warmup_epochs, first.epochs - 1) * first.steps

    def cycle(self, epoch: int) -> int:
        """Tell the index of the cycle that `epoch`, counted from 0, is part of."""
        return min(bisect_right(self.ends, epoch), len(self.ends) - 1)

    def number(self, epoch: int) -> int:
        """Tell the number, from 1, of the cycle that `epoch` is part of; 0 of one that is not counted."""
        return max(0, self.cycle(epoch) + 1 - self._uncounted)

    def ended(self, epochs: int) -> int | None:
        """Tell the number, from 1, of the cycle that ends after so many epochs; None: none does, or it is alone."""
        number = self.number(epochs - 1)
        return number if epochs in self.ends and number and self.count > 1 else None

    def tail(self, part: float) -> int:
        """Give the first step of the last `part`, 0..1, of the last cycle's epochs: one of them at least."""
        return self.step(self.ends[-1] - max(1, round(part * self._cycles[-1].epochs)))

    def step(self, epoch: int) -> int:
        """Tell the first step of `epoch`, both counted from 0."""
        k = self.cycle(epoch)
        before = self.ends[k] - self._cycles[k].epochs
        return self._starts[k] + (epoch - before) * self._cycles[k].steps

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """Compute the rate, a float32 scalar, at a step, an integer scalar counted from 0; 0 after the last."""
        step = tf.convert_to_tensor(step)
        starts = tf.constant(self._starts[:-1], step.dtype)
        k = tf.reduce_sum(tf.cast(step >= starts, tf.int32)) - 1
        # Where the cosine begins and how long it is: in the first cycle, after the warm-up.
        begins = [self._warmup, *self._starts[1:-1]]
        lengths = [end - begin for begin, end in zip(begins, self._starts[1:], strict=True)]
        done = tf.cast(step - tf.gather(tf.constant(begins, step.dtype), k), tf.float32)
        length = tf.gather(tf.constant(lengths, tf.float32), k)
        peak = tf.gather(tf.constant(self._peaks, tf.float32), k)
        cosine = peak * (0.5 * (1.0 + tf.cos(math.pi * (tf.minimum(done, length) / length))))
        if not self._warmup:
            return cosine
        return tf.where(step < self._warmup, self._peaks[0] * (tf.cast(step, tf.float32) / self._warmup), cosine)
