"""Placing, augmenting and bringing back tiles, against numpy and OpenCV."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from models.geometry import DRAWS, MEAN, NEUTRAL, STD, Geometry, standardise
from training.augment.augmenter import Augmenter


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 101, 101), np.uint8)


def gray(normalised: tf.Tensor) -> np.ndarray:
    """Undo the normalisation: gray values 0..255."""
    return (normalised.numpy() * STD + MEAN) * 255


def draws(n: int, **changes: float) -> tf.Tensor:
    row = list(NEUTRAL)
    for name, value in changes.items():
        row[("mirror", "up", "left", "warp", "angle", "scale", "contrast", "brightness").index(name)] = value
    return tf.constant([row] * n, tf.float32)


def test_128_is_reflect_padding(tiles):
    placed = gray(Geometry(128).place(tiles))[..., 0]
    assert placed.shape == (3, 128, 128)
    assert np.allclose(placed, np.pad(tiles, ((0, 0), (13, 14), (13, 14)), mode="reflect"), atol=1e-3)


def test_256_is_doubling_then_reflecting(tiles):
    geometry = Geometry(256)
    placed = gray(geometry.place(tiles))[..., 0]
    doubled = np.stack([cv2.resize(t.astype(np.float32), (202, 202), interpolation=cv2.INTER_LINEAR) for t in tiles])
    inside = placed[:, 27 : 27 + 202, 27 : 27 + 202]
    assert np.allclose(inside[:, 1:-1, 1:-1], doubled[:, 1:-1, 1:-1], atol=0.1)


def test_64_shrinks(tiles):
    flat = np.full((1, 101, 101), 77, np.uint8)
    assert np.allclose(gray(Geometry(64).place(flat)), 77, atol=1e-3)
    assert Geometry(64).place(tiles).shape == (3, 64, 64, 1)


@pytest.mark.parametrize("size", [128, 160, 256, 320])
def test_back_to_the_tile_is_the_inverse(tiles, size):
    """Where the tile is not shrunk, constant 2x2 or 3x3 blocks average to the pixel they came from."""
    geometry = Geometry(size)
    k = int(geometry.factor)
    enlarged = np.repeat(np.repeat(tiles.astype(np.float32), k, 1), k, 2)
    network_output = np.zeros((3, size, size, 1), np.float32)
    at = geometry.offset
    network_output[:, at : at + 101 * k, at : at + 101 * k, 0] = enlarged
    assert np.allclose(geometry.to_tile(tf.constant(network_output)), tiles, atol=1e-3)


def test_back_from_a_shrunk_input_has_the_tile_size():
    assert Geometry(64).to_tile(tf.ones((2, 64, 64, 1))).shape == (2, 101, 101)


@pytest.mark.parametrize(("size", "tile"), [(160, 126), (96, 96), (128, 128), (192, 152), (96, 60)])
def test_a_tile_of_any_size_lies_in_the_middle_and_comes_back(size, tile):
    """A plane of gray values has its slope, 101 / tile a pixel, and its centre; back on the tile it is the same."""
    y, x = np.mgrid[:101, :101]
    plane = (100 + x - y).astype(np.uint8)[None]
    geometry = Geometry(size, tile)
    placed = gray(geometry.place(plane))[0, :, :, 0]
    first = (size - tile) // 2
    assert (geometry.offset, geometry.inside) == (first, tile)
    line = placed[first + tile // 2, first + 5 : first + tile - 5]
    assert np.allclose(np.diff(line), 101 / tile, atol=1e-3)
    middle = placed[[first + (tile - 1) // 2, first + tile // 2]][
        :, [first + (tile - 1) // 2, first + tile // 2]
    ].mean()
    assert middle == pytest.approx(100, abs=1e-3)
    back = geometry.to_tile(tf.constant(placed[None, :, :, None]))[0].numpy()
    assert np.allclose(back[2:-2, 2:-2], plane[0, 2:-2, 2:-2], atol=0.02)


def test_a_tile_size_as_it_would_be_chosen_changes_nothing(tiles):
    for size, tile in ((128, 101), (256, 202), (64, 64)):
        chosen, given = Geometry(size), Geometry(size, tile)
        assert np.array_equal(chosen.place(tiles), given.place(tiles))
        values = tf.random.stateless_normal((1, size, size, 1), (1, 2))
        assert np.array_equal(chosen.to_tile(values), given.to_tile(values))


def test_neutral_draws_place_the_tile(tiles):
    images, masks = Geometry(128).warp(tiles, (tiles > 128).astype(np.uint8), draws(3))
    assert np.allclose(images, Geometry(128).place(tiles), atol=1e-4)
    assert np.array_equal(masks[..., 0], np.pad(tiles > 128, ((0, 0), (13, 14), (13, 14)), mode="reflect"))


def test_mirror_and_shift_are_exact(tiles):
    masks = (tiles > 128).astype(np.uint8)
    mirrored, _ = Geometry(128).warp(tiles, masks, draws(3, mirror=0.0))
    assert np.allclose(gray(mirrored)[:, 13:114, 13:114, 0], tiles[:, :, ::-1], atol=1e-2)
    # 27 pixels are free: the extreme draws bring the tile into the corner
    up, moved_masks = Geometry(128).warp(tiles, masks, draws(3, up=0.9999, left=0.0))
    assert np.allclose(gray(up)[:, :101, 27:, 0], tiles, atol=1e-2)
    assert np.array_equal(moved_masks[:, :101, 27:, 0], masks)


@pytest.mark.parametrize("geometry", [Geometry(64), Geometry(128), Geometry(256), Geometry(160, 126)], ids=str)
def test_image_and_mask_move_together(geometry):
    """A disc drawn in both: after every augmentation the image is bright where the mask is salt."""
    y, x = np.mgrid[:101, :101]
    disc = ((y - 40) ** 2 + (x - 60) ** 2 < 400).astype(np.uint8)
    random = tf.random.stateless_uniform((32, DRAWS), (5, 6))
    images, masks = geometry.warp(np.stack([disc * 255] * 32), np.stack([disc] * 32), random)
    bright = images.numpy() > (0.5 - MEAN) / STD
    assert set(np.unique(masks)) == {0.0, 1.0}
    assert (bright == (masks.numpy() > 0)).mean() > 0.985
    assert len({m.tobytes() for m in masks.numpy()}) == 32  # and all 32 differ


def test_rotation_and_scale_by_hand():
    """A horizontal line turned by 10 degrees rises by tan(10) a pixel; enlarged 1.2 times it is 1.2 times as thick."""
    line = np.zeros((1, 101, 101), np.uint8)
    line[:, 45:56] = 1
    _, turned = Geometry(128).warp(line * 255, line, draws(1, warp=1.0, angle=0.0))
    centres = [np.flatnonzero(turned[0, :, column, 0].numpy()).mean() for column in (43, 83)]
    assert abs((centres[1] - centres[0]) / 40) == pytest.approx(np.tan(np.radians(10)), abs=0.02)
    _, larger = Geometry(128).warp(line * 255, line, draws(1, warp=1.0, angle=0.5, scale=1.0))
    assert larger.numpy()[0, :, 63].sum() == pytest.approx(11 * 1.2, abs=1)
    strong = {"warp": 1.0, "angle": 0.5, "scale": 1.0}
    _, twice = Geometry(128).warp(line * 255, line, draws(1, **strong), strength=2.0)
    assert twice.numpy()[0, :, 63].sum() == pytest.approx(11 * 1.2**2, abs=1)
    assert np.array_equal(twice, Augmenter(Geometry(128), "warp2")(line * 255, line, draws(1, **strong))[1])


def test_compiled_by_xla_and_inside_tf_data_it_is_the_same(tiles):
    geometry, masks = Geometry(128), (tiles > 128).astype(np.uint8)
    random = tf.random.stateless_uniform((3, DRAWS), (1, 1))
    eager = geometry.warp(tiles, masks, random)
    compiled = tf.function(geometry.warp, jit_compile=True)(tf.constant(tiles), tf.constant(masks), random)
    dataset = tf.data.Dataset.from_tensors((tiles, masks, random)).map(geometry.warp)
    for other in (compiled, next(iter(dataset))):
        assert np.allclose(eager[0], other[0], atol=1e-3)
        assert np.mean(eager[1].numpy() != other[1].numpy()) < 1e-3  # rounding at pixel borders


def test_standardise_by_hand():
    assert float(standardise(tf.constant(255, tf.uint8))) == pytest.approx((1 - MEAN) / STD)
