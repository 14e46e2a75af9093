"""Augmentations by name, their order, and what each may change."""

import numpy as np
import pytest
import tensorflow as tf

from models.geometry import DRAWS, MEAN, STD, Geometry
from tests.helpers.commands import refused
from training.augment.augmenter import AUGMENTATIONS, Augmentation, Augmenter, cutmix, cutout, gamma, light
from training.augment.distortions import DISTORTIONS, Distortion


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 101, 101), np.uint8)


def draws(n: int, parts: int) -> tf.Tensor:
    return tf.random.stateless_uniform((n, parts * DRAWS), (1, 2))


def test_light_by_hand():
    images = tf.constant([0.0, 1.0, 2.0])[:, None, None, None]
    masks = tf.constant([0.0, 1.0, 1.0])[:, None, None, None]
    row = tf.constant([[1.0, 0.5], [0.5, 1.0], [0.0, 0.0]])
    lit, same = light(images, masks, row)
    assert np.allclose(lit[:, 0, 0, 0], [0, 1 + 0.1 / STD, 2 * 0.85 - 0.1 / STD])
    assert same is masks


def test_none_only_places(tiles):
    augment = Augmenter(Geometry(128), "none")
    images, masks = augment(tiles, (tiles > 128).astype(np.uint8), draws(3, 1))
    assert augment.draws == DRAWS
    assert np.allclose(images, Geometry(128).place(tiles), atol=1e-4)
    assert np.array_equal(masks[..., 0], np.pad(tiles > 128, ((0, 0), (13, 14), (13, 14)), mode="reflect"))


def test_each_part_gets_draws_of_its_own_and_the_order_is_kept(tiles, monkeypatch):
    seen = []

    def spy(images, masks, draws):
        seen.append(draws.numpy())
        return images + 1, masks

    monkeypatch.setitem(AUGMENTATIONS, "spy", Augmentation("spies", spy))
    masks = (tiles > 128).astype(np.uint8)
    chance = draws(3, 3)
    augment = Augmenter(Geometry(32), "light+spy")
    assert augment.draws == 3 * DRAWS
    images, _ = augment(tiles, masks, chance)
    assert np.array_equal(seen[0], chance[:, 2 * DRAWS :])
    placed = Geometry(32).place(tiles)
    assert np.allclose(images, light(placed, None, chance[:, DRAWS : 2 * DRAWS])[0] + 1, atol=1e-5)
    warped, _ = Augmenter(Geometry(32), "warp")(tiles, masks, chance[:, :DRAWS])
    assert np.allclose(warped, Geometry(32).warp(tiles, masks, chance[:, :DRAWS])[0])
    assert not np.allclose(warped, placed, atol=0.1)


def test_each_part_gets_as_many_draws_as_it_wants(tiles, monkeypatch):
    """Distortions first, whatever the order: they go into the one sampling, and their displacements add up."""
    seen = {}

    def spy(kind, name, count, answer):
        def part(*args):
            seen[name] = next(a for a in args if getattr(a, "shape", ())[1:] == (count,)).numpy()
            return answer(*args)

        return kind("spies", part, count)

    monkeypatch.setitem(
        DISTORTIONS, "down", spy(Distortion, "down", 5, lambda draws, size: (tf.fill((3, 1, 1), 2.0), 0.0))
    )
    monkeypatch.setitem(
        DISTORTIONS, "both", spy(Distortion, "both", 6, lambda draws, size: (1.0, tf.fill((1, 1, size), -4.0)))
    )
    monkeypatch.setitem(AUGMENTATIONS, "spy", spy(Augmentation, "spy", 3, lambda images, masks, draws: (images, masks)))
    augment = Augmenter(Geometry(128), "spy+down+light+both")
    assert augment.draws == DRAWS + 5 + 6 + 3 + DRAWS
    chance = tf.random.stateless_uniform((3, augment.draws), (1, 2))
    images, masks = augment(tiles, (tiles > 128).astype(np.uint8), chance)
    at = DRAWS
    for name, count in (("down", 5), ("both", 6), ("spy", 3)):
        assert np.array_equal(seen[name], chance[:, at : at + count])
        at += count
    # Read from three pixels below and four to the left.
    placed = light(Geometry(128).place(tiles), None, chance[:, at:])[0]
    assert np.allclose(images[:, 10:100, 20:100], placed[:, 13:103, 16:96], atol=1e-4)
    assert np.array_equal(masks[:, 13:111, 17:118, 0], (tiles > 128)[:, 3:, :])


def test_the_default_is_warp_then_light_to_the_bit(tiles):
    masks, chance = (tiles > 128).astype(np.uint8), draws(3, 2)
    images, moved = Augmenter(Geometry(128), "warp+light")(tiles, masks, chance)
    warped, expected = Geometry(128).warp(tiles, masks, chance[:, :DRAWS])
    assert np.array_equal(images, light(warped, None, chance[:, DRAWS:])[0])
    assert np.array_equal(moved, expected)


def test_gamma_by_hand():
    """Gray values 0.25, 0.5 and beyond 1, to the power of 1.4, of 1 / 1.4, and left alone."""
    gray = np.array([0.25, 0.5, 1.5], np.float32)
    images = tf.constant(np.tile((gray - MEAN) / STD, (3, 1)).astype(np.float32)[:, None, :, None])
    rows = tf.constant([[0.5, 1.0], [0.9, 0.0], [0.49, 1.0]])
    changed, same = gamma(images, "masks", rows)
    assert same == "masks"
    found = changed[:, 0, :, 0] * STD + MEAN
    assert np.allclose(found[:2], [[0.143587, 0.378929, 1], [0.371499, 0.609507, 1]], atol=1e-5)
    assert np.array_equal(changed[2], images[2])


def test_cutout_by_hand():
    """A square of 16 of 64 pixels about a centre, cut off at the border, or none; the mask is the same tensor."""
    images, masks = tf.ones((4, 64, 64, 1)), tf.ones((4, 64, 64, 1))
    rows = tf.constant([[0.5, 0.5, 0.25], [0.7, 0.0, 0.999], [0.49, 0.5, 0.5], [0.99, 0.5, 0.5]])
    cut, same = cutout(images, masks, rows)
    assert same is masks
    expected = np.ones((4, 64, 64))
    expected[0, 24:40, 8:24] = expected[1, :8, 55:] = expected[3, 24:40, 24:40] = 0
    assert np.array_equal(cut[..., 0], expected)


def test_cutmix_by_hand():
    """A square of half the side, of none, of nearly all, about a centre, of the next tile, or of the first."""
    tiles = tf.range(1.0, 5.0)[:, None, None, None] * tf.ones((1, 64, 64, 1))
    rows = tf.constant(
        [[0.5, 0.5, 0.25, 0.25], [0.7, 0.0, 0.999, 0.25], [0.49, 0.5, 0.5, 0.9], [0.9, 0.5, 0.5, 0.9999]]
    )
    images, masks = cutmix(tiles, 10 * tiles, rows)
    expected = np.tile(tiles[..., 0], 1).copy()
    expected[0, 16:48, :32] = 2
    expected[1, :16, 47:] = 3
    expected[3, 1:, 1:] = 1
    assert np.array_equal(images[..., 0], expected)
    assert np.array_equal(masks, 10 * images)


@pytest.mark.parametrize("size", [64, pytest.param(128, marks=pytest.mark.slow)])
def test_all_together_repeat_and_are_the_same_compiled_by_xla(tiles, size):
    augment = Augmenter(Geometry(size), "+".join(["warp", *DISTORTIONS, *AUGMENTATIONS]))
    masks = (tiles > 128).astype(np.uint8)
    chance = tf.random.stateless_uniform((3, augment.draws), (3, 4))
    first, again = (augment(tiles, masks, chance) for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    compiled = tf.function(augment, jit_compile=True)(tf.constant(tiles), tf.constant(masks), chance)
    assert np.mean(np.abs(first[0] - compiled[0]) > 1e-2) < 1e-3  # pixels of noise are far apart: 0.001 px shows
    assert np.mean(first[1].numpy() != compiled[1].numpy()) < 1e-3  # rounding at pixel borders
    assert set(np.unique(first[1])) == {0.0, 1.0}
    other, _ = augment(tiles, masks, tf.random.stateless_uniform((3, augment.draws), (3, 5)))
    assert not np.allclose(first[0], other, atol=0.1)


@pytest.mark.parametrize("text", ["blur", "warp+blur", "", "warp+", "none+warp", "True", "WARP"])
def test_an_unknown_name_is_answered_with_the_known(text):
    assert "choose from warp, warp2, shear, grid, elastic, light, gamma, cutout, cutmix, a sum like" in refused(
        lambda: Augmenter(Geometry(32), text), "no augmentation '"
    )
