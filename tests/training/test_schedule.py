"""The learning rate's cycles: by hand, against Keras, and in Learner's counting of epochs and steps."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.commands import refused
from training.schedule import CosineCycles, Cycle, equal_cycles


def rates(schedule: CosineCycles, steps: int) -> list[float]:
    return [float(schedule(tf.constant(step))) for step in range(steps)]


@pytest.mark.parametrize("warmup", [0, 1, 3, 50])
def test_one_cycle_is_keras_cosine_decay_to_the_bit(warmup):
    epochs, steps, peak = 7, 9, 1.3e-3
    first = min(warmup, epochs - 1) * steps
    theirs = keras.optimizers.schedules.CosineDecay(
        0.0 if first else peak, epochs * steps - first, warmup_target=peak if first else None, warmup_steps=first
    )
    ours = CosineCycles(equal_cycles(epochs, 1, steps), peak, warmup_epochs=warmup)
    asked = [tf.constant(step) for step in range(epochs * steps + 3)]
    assert [ours(step).numpy() for step in asked] == [theirs(step).numpy() for step in asked]


def test_cycles_by_hand():
    """Warm-up over two steps, a cosine over four; then from the peak again, over three steps of another length."""
    schedule = CosineCycles((Cycle(3, 2), Cycle(1, 3)), 0.8, warmup_epochs=1)
    by_hand = [0.0, 0.4, 0.8, 0.8 * (2 + 2**0.5) / 4, 0.4, 0.8 * (2 - 2**0.5) / 4, 0.8, 0.6, 0.2, 0.0, 0.0]
    assert rates(schedule, 11) == pytest.approx(by_hand, abs=1e-7)
    assert schedule.ends == (3, 4)
    assert [schedule.cycle(epoch) for epoch in range(4)] == [0, 0, 0, 1]
    assert [schedule.ended(epochs) for epochs in range(6)] == [None, None, None, 1, 2, None]
    assert CosineCycles(equal_cycles(3, 1, 2), 0.8).ended(3) is None
    assert [schedule.step(epoch) for epoch in range(5)] == [0, 2, 4, 6, 9]


def test_compiled_by_xla_it_is_the_same():
    schedule = CosineCycles(equal_cycles(11, 3, 4), 0.1, warmup_epochs=2)
    compiled = tf.function(schedule, jit_compile=True)
    assert [float(compiled(tf.constant(k))) for k in range(45)] == pytest.approx(rates(schedule, 45), abs=1e-8)


def test_epochs_that_are_left_over_go_to_the_first():
    assert [cycle.epochs for cycle in equal_cycles(11, 3, 5)] == [5, 3, 3]
    assert [cycle.epochs for cycle in equal_cycles(3, 3, 5)] == [1, 1, 1]
    refused(lambda: equal_cycles(3, 4, 5), "--cycles=4 need an epoch each, --epochs=3 are too few")


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=4),
    st.integers(0, 8),
)
def test_each_cycle_starts_at_the_peak_falls_and_would_end_at_0(lengths, warmup):
    cycles = [Cycle(*length) for length in lengths]
    schedule = CosineCycles(cycles, 1.0, warmup_epochs=warmup)
    total = sum(cycle.epochs * cycle.steps for cycle in cycles)
    found = np.array(rates(schedule, total + 1))
    assert found[-1] == 0
    assert 0 <= found.min() <= found.max() <= 1
    starts = [schedule.step(epoch) for epoch in (0, *schedule.ends)]
    assert starts[-1] == total
    for k, (start, end) in enumerate(pairwise(starts)):
        warm = min(warmup, cycles[0].epochs - 1) * cycles[0].steps if k == 0 else 0
        assert found[start + warm] == 1
        assert (np.diff(found[start + warm : end]) < 0).all()
        assert (np.diff(found[start : start + warm + 1]) > 0).all()
    assert schedule.cycle(schedule.ends[-1]) == len(cycles) - 1  # after the end, where learning_rate is asked too
