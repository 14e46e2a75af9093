"""Augmentations by name, and which of them `--augment` asks for; all of them run inside the compiled training step."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from data.errors import InputError
from data.flags import listing
from data.geometry import DRAWS, NEUTRAL, STD, Geometry

# images: normalised float32 (B, S, S, 1); masks: {0, 1} float32 (B, S, S, 1); draws: float32 (B, DRAWS), uniform in
# [0, 1), the only source of chance, so that equal draws repeat exactly. Returns images and masks of the same shapes.
Augmentation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def light(images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Change contrast by up to 15 %, brightness by up to a tenth of the gray range."""
    contrast, brightness = 0.85 + 0.3 * draws[:, 0], -0.1 + 0.2 * draws[:, 1]  # (B,)
    return images * contrast[:, None, None, None] + brightness[:, None, None, None] / STD, masks


AUGMENTATIONS: dict[str, Augmentation] = {"light": light}


def list_augmentations() -> str:
    """A line for each name that `--augment` knows."""
    return listing({"warp": Geometry.warp, **AUGMENTATIONS})


class Augmenter:
    """Places tiles in the network's input, with the augmentations that a text such as "warp+light" names, in order.

    `warp` is the placing itself, done at random; the others are entries of AUGMENTATIONS. "none" only places.
    """

    def __init__(self, geometry: Geometry, text: str):
        """Read `text`; InputError, with the list of names, for an unknown one."""
        names = [] if text == "none" else text.split("+")
        for name in names:
            if name != "warp" and name not in AUGMENTATIONS:
                known = ", ".join(["warp", *AUGMENTATIONS])
                raise InputError(f"no augmentation '{name}'; choose from {known}, a sum like warp+light, or none")
        self._geometry, self._warp = geometry, "warp" in names
        self._others: Sequence[Augmentation] = [AUGMENTATIONS[name] for name in names if name != "warp"]

    @property
    def draws(self) -> int:
        """Random numbers wanted per tile."""
        return DRAWS * (1 + len(self._others))

    def __call__(self, images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Tiles and masks {0, 1}, uint8 (B, 101, 101), and draws (B, self.draws) -> float32 (B, S, S, 1) each."""
        first, *others = tf.split(draws, 1 + len(self._others), axis=1)  # (B, DRAWS) each
        images, masks = self._geometry.warp(images, masks, first if self._warp else tf.zeros_like(first) + NEUTRAL)
        for augmentation, part in zip(self._others, others, strict=True):
            images, masks = augmentation(images, masks, part)
        return images, masks
