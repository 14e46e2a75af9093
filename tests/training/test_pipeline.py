"""Batches: every tile once an epoch, ranks share the global batch, order by seed and epoch."""

from itertools import chain

import pytest

from tests.helpers.batches import numbered, numbers
from training.batches import TrainingBatches


def test_each_tile_once_an_epoch_in_another_order():
    batches = TrainingBatches(numbered(24), batch_size=4, seed=1)
    first, second = numbers(batches, 0), numbers(batches, 1)
    assert len(first) == len(batches) == 6
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(24))
    assert first != second
    assert first == numbers(TrainingBatches(numbered(24), batch_size=4, seed=1), 0)
    assert first != numbers(TrainingBatches(numbered(24), batch_size=4, seed=2), 0)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_together_see_the_batches_of_one_process(size):
    alone = numbers(TrainingBatches(numbered(25), batch_size=4 * size, seed=1), 3)
    ranks = [TrainingBatches(numbered(25), batch_size=4, seed=1, rank=r, size=size) for r in range(size)]
    assert len({len(rank) for rank in ranks}) == 1
    together = [list(chain(*parts)) for parts in zip(*(numbers(rank, 3) for rank in ranks), strict=True)]
    assert together == alone


def test_fewer_tiles_than_a_batch_are_repeated():
    batches = TrainingBatches(numbered(3), batch_size=4, seed=1, rank=1, size=2)
    (only,) = numbers(batches, 0)
    assert len(only) == 4
    assert set(only) <= {0, 1, 2}


def test_the_end_of_an_epoch_waits_for_no_tuner():
    """tf.data's own tuner looks again after 10, 20, 40 ms and so on; its end may wait for the next look."""
    assert TrainingBatches(numbered(8), batch_size=4, seed=1).epoch(0).options().autotune.enabled is False
