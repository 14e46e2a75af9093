"""Augmentations by name, their order, and what each may change."""

import numpy as np
import pytest
import tensorflow as tf

from data.augmentation import AUGMENTATIONS, Augmenter, light
from data.geometry import DRAWS, STD, Geometry
from tests.scripts import refused


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

    monkeypatch.setitem(AUGMENTATIONS, "spy", spy)
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


@pytest.mark.parametrize("text", ["blur", "warp+blur", "", "warp+", "none+warp", "True", "WARP"])
def test_an_unknown_name_is_answered_with_the_known(text):
    assert "choose from warp, light, a sum like" in refused(lambda: Augmenter(Geometry(32), text), "no augmentation '")
