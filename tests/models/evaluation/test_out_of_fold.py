"""Threshold and minimum-area search on cases small enough to see through."""

import numpy as np
import pytest

from models.decision import tile_masks
from models.evaluation.out_of_fold import OutOfFold, by_coverage, points_at, search
from models.metrics import points


def tiles(*pairs: tuple[int, int], sure: float = 0.9, unsure: float = 0.4) -> OutOfFold:
    """Tiles of 101x101, a pair each: pixels of salt, and pixels predicted with `sure`; a strip of 5 has `unsure`."""
    truth = np.zeros((len(pairs), 101, 101), np.uint8)
    probabilities = np.zeros(truth.shape, np.float16)
    for k, (salt, predicted) in enumerate(pairs):
        truth[k].flat[:salt] = 1
        probabilities[k].flat[:predicted] = sure
        probabilities[k].flat[predicted : predicted + 5] = unsure
    names = np.array(["fold_0", "fold_1"] * len(pairs))[: len(pairs)]
    return OutOfFold([str(k) for k in range(len(pairs))], names, truth, probabilities)


def test_points_at_thresholds_and_least_areas():
    result = tiles((100, 100), (0, 30), (10, 30))
    assert points_at(result, 0.5, np.array([0, 31, 101])).tolist() == [[10, 0, 0], [10, 10, 0], [0, 10, 0]]
    # At 0.3 the strip counts too: IoU 100 / 105 still passes all ten, as 0.952 > 0.95.
    assert points_at(result, 0.3, np.array([0])).tolist() == [[10, 0, 0]]


def test_search_finds_the_least_area_that_empties_inventions():
    found = search(tiles((1000, 1000), (1000, 1000), (0, 30), (0, 30)))
    assert found.score == 1.0
    assert 30 < found.min_area <= 1000
    assert found.cross_fitted == 1.0


def test_cross_fitting_does_not_reward_a_fold_for_its_own_choice():
    """Fold 0 wants small masks emptied, fold 1 wants them kept: each is judged by what the other chose."""
    found = search(tiles((0, 30), (30, 30), (0, 30), (30, 30)))
    assert found.score == pytest.approx(0.5)
    assert found.cross_fitted == 0.0


def test_search_leaves_what_its_curves_and_sheets_show():
    result = tiles((1000, 1000), (0, 30), (10, 30), (200, 150))
    found = search(result)
    assert found.grid.loc[found.threshold, found.min_area] == found.grid.to_numpy().max() == found.score
    assert found.grid.stack().idxmax() == (found.threshold, found.min_area)
    # 150 of 200 px: 0.75 passes five thresholds. At 0.5 and area 0: 1 + 0 + 0 + 0.5 of four tiles.
    assert found.grid.loc[0.5, 0] == pytest.approx(1.5 / 4)
    assert found.scores.tolist() == pytest.approx([1.0, 1.0, 0.0, found.scores[3]])
    masks = tile_masks(result.probabilities, found.threshold, found.min_area)
    assert (points(result.truth, masks) / 10).tolist() == found.scores.tolist()


def test_masks_smaller_than_the_least_area_are_emptied():
    probabilities = tiles((0, 30), (0, 31)).probabilities
    assert tile_masks(probabilities, 0.5, 31).sum(axis=(1, 2)).tolist() == [0, 31]
    assert tile_masks(probabilities, 0.3, 31).sum(axis=(1, 2)).tolist() == [35, 36]  # with the strip


def test_one_fold_has_nothing_to_cross_fit():
    result = tiles((100, 100), (0, 0))
    assert (
        search(OutOfFold(result.ids, np.array(["fold_0"] * 2), result.truth, result.probabilities)).cross_fitted is None
    )


def test_table_by_coverage():
    truth = tiles((0, 0), (101 * 101 // 20, 0), (101 * 101, 0), (101 * 101, 0)).truth
    table = by_coverage(truth, np.array([1.0, 0.5, 0.2, 0.4]))
    assert table.index.tolist() == ["empty", "0-10 %", "90-100 %"]
    assert table["tiles"].tolist() == [1, 1, 2]
    assert table["score"].tolist() == pytest.approx([1.0, 0.5, 0.3])
