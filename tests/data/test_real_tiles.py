"""The competition's tiles: what they hold, and how long it takes to read them."""

import time

import numpy as np
import pytest

from data.tiles import TileSet, read_tiles
from tests.helpers.machine import slowdown


def test_coverage_is_the_share_of_salt():
    masks = np.zeros((2, 101, 101), np.uint8)
    masks[1, :, :25] = 1
    assert TileSet(["a", "b"], masks, masks).coverage.tolist() == pytest.approx([0, 25 / 101])


def test_the_real_tiles_are_read_in_seconds(real_data):
    began = time.perf_counter()
    found = read_tiles(real_data / "train" / "images", real_data / "train" / "masks")
    seconds = time.perf_counter() - began
    print(f"{len(found)} real tiles with masks read and checked in {seconds:.2f} s")
    assert len(found) == 3601
    assert found.ids == sorted(found.ids)
    assert set(np.unique(found.masks)) == {0, 1}
    assert 0.38 < (found.coverage == 0).mean() < 0.40
    assert 0.24 < found.coverage.mean() < 0.26
    assert seconds < 6 * slowdown()  # 3 wanted on two cores
