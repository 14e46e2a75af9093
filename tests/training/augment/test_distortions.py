"""Distortions of the network's input: by hand, within their range, off at low draws, image and mask together."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.interpolate import BSpline

from models.geometry import Geometry
from training.augment.augmenter import Augmenter
from training.augment.distortions import CELLS, DISTORTIONS, KNOTS, REACH, SLOPE, elastic, grid, shear

RANGE = {
    "shear": SLOPE / 2,
    "grid": 2.6 / 4.7 - 0.4,
    "elastic": REACH,
}  # in sides of the input; grid: two cells of 1.3, three of 0.7


def random(name: str, n: int, on: float) -> np.ndarray:
    """Draws of n tiles, the first of each `on`."""
    draws = np.random.default_rng(len(name)).random((n, DISTORTIONS[name].draws), np.float32)
    draws[:, 0] = on
    return draws


def displaced(name: str, draws: np.ndarray, size: int) -> np.ndarray:
    """float32 (2, B, S, S): down and right."""
    return np.stack([np.broadcast_to(d, (len(draws), size, size)) for d in DISTORTIONS[name].function(draws, size)])


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", DISTORTIONS)
def test_low_draws_move_nothing_and_others_within_their_range(name, size):
    assert not displaced(name, random(name, 8, 0.49), size).any()
    assert not displaced(name, np.zeros((1, DISTORTIONS[name].draws), np.float32), size).any()
    moved = displaced(name, random(name, 500, 0.5), size)
    assert 0.5 * RANGE[name] * size < np.abs(moved).max() <= RANGE[name] * size
    assert np.abs(moved.mean(axis=1)).max() < 0.2 * RANGE[name] * size  # to neither side
    at = moved + np.mgrid[:size, :size][:, None]
    assert np.diff(at[0], axis=1).min() > 0  # nothing is folded over
    assert np.diff(at[1], axis=2).min() > 0


def test_shear_by_hand():
    down, right = shear(np.array([[0.5, 1.0], [0.9, 0.25], [0.4, 1.0]], np.float32), 5)
    assert not np.any(down)
    assert np.allclose(right[..., 0], [[-0.3, -0.15, 0, 0.15, 0.3], [0.15, 0.075, 0, -0.075, -0.15], [0] * 5])


def test_grid_by_hand():
    """Rows: the first cell is 1.3 wide, the others 0.7. Columns: all alike."""
    draws = np.full((1, 1 + 2 * CELLS), 0.5, np.float32)
    draws[0, 1:6] = [1, 0, 0, 0, 0]
    down, right = grid(draws, 101)
    lines = np.array([0, 1.3, 2.0, 2.7, 3.4, 4.1]) / 4.1 * 100
    assert np.allclose(right, 0, atol=1e-4)
    assert np.allclose(down[0, :, 0], np.interp(np.arange(101), np.arange(6) * 20, lines) - np.arange(101), atol=1e-4)


def test_elastic_is_a_cubic_b_spline_through_its_draws():
    draws, size = random("elastic", 2, 0.8), 61
    knots = np.arange(-3, KNOTS + 1)
    basis = BSpline(knots, np.eye(KNOTS), 3)(np.linspace(0, KNOTS - 3, size))  # (S, KNOTS)
    points = REACH * size * (2 * draws[:, 1:].reshape(2, 2, KNOTS, KNOTS) - 1)
    for k, field in enumerate(elastic(draws, size)):
        assert np.allclose(field, np.einsum("sk,bkl,tl->bst", basis, points[:, k], basis), atol=1e-4)
    even = np.full((1, DISTORTIONS["elastic"].draws), 0.75, np.float32)
    assert np.allclose(elastic(even, size), 0.5 * REACH * size, atol=1e-5)  # as far everywhere


def test_an_even_displacement_shifts_the_tile_by_whole_pixels():
    tiles = np.random.default_rng(0).integers(0, 256, (1, 101, 101), np.uint8)
    draws = np.full((1, DISTORTIONS["elastic"].draws), 0.75, np.float32)
    draws[0, 1 + KNOTS**2 :] = 0.25
    moved = elastic(draws, 160)  # 4 down, 4 left
    chance = tf.constant([[0.5, 0.5, 0.5, 0, 0.5, 0.5, 0.5, 0.5]])
    images, masks = Geometry(160).warp(tiles, (tiles > 128).astype(np.uint8), chance, moved)
    placed = Geometry(160).place(tiles)
    assert np.allclose(images[:, 30:120, 30:120], placed[:, 34:124, 26:116], atol=1e-3)
    assert np.array_equal(masks[0, 29:126, 33:134, 0], (tiles > 128)[0, 4:, :])


@pytest.mark.parametrize("text", [*DISTORTIONS, "warp+shear+grid+elastic"])
def test_a_mask_as_image_stays_that_mask(text):
    """Columns of salt, whose interpolated image is above a half exactly where the nearest pixel is salt."""
    masks = np.zeros((24, 101, 101), np.uint8)
    masks[:, :, 30:45] = masks[:, :, 70:71] = 1
    augment = Augmenter(Geometry(128), text)
    chance = tf.random.stateless_uniform((24, augment.draws), (7, 8))
    images, moved = augment(masks * 255, masks, chance)
    black, white = augment(masks * 0, masks, chance)[0], augment(masks * 0 + 255, masks, chance)[0]
    share = ((images - black) / (white - black)).numpy()
    sure = np.abs(share - 0.5) > 1e-3
    assert sure.mean() > 0.99
    assert set(np.unique(moved)) == {0.0, 1.0}
    assert np.array_equal((share > 0.5)[sure], moved.numpy()[sure] == 1)
    assert len({tile.tobytes() for tile in moved.numpy()}) > 8


@pytest.mark.parametrize("name", DISTORTIONS)
def test_it_is_the_same_compiled_by_xla(name):
    draws = tf.constant(random(name, 4, 0.5))
    compiled = tf.function(DISTORTIONS[name].function, jit_compile=True)(draws, 128)
    for mine, theirs in zip(DISTORTIONS[name].function(draws, 128), compiled, strict=True):
        assert np.allclose(mine, theirs, atol=1e-4)
