"""Augmentations by name, and which of them `--augment` asks for; all of them run inside the compiled training step."""

import math
from dataclasses import dataclass
from functools import partial

import tensorflow as tf

from common.names import Entry, list_names, read_sum
from models.geometry import DRAWS, MEAN, NEUTRAL, STD, Geometry
from training.augment.distortions import DISTORTIONS, Distortion


@dataclass(frozen=True)
class Augmentation(Entry):
    """A function of a batch after it has been placed.

    `function` gets images, standardised float32 (B, S, S, 1), masks {0, 1} float32 (B, S, S, 1), and draws float32
    (B, `draws`), uniform in [0, 1), the only source of chance, so that equal draws repeat exactly. It returns images
    and masks of the same shapes.
    """

    draws: int = DRAWS


def light(images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Change contrast by up to 15 %, brightness by up to a tenth of the gray range."""
    contrast, brightness = 0.85 + 0.3 * draws[:, 0], -0.1 + 0.2 * draws[:, 1]  # (B,)
    return images * contrast[:, None, None, None] + brightness[:, None, None, None] / STD, masks


def gamma(images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Raise gray values 0..1 to a power between 1 / 1.4 and 1.4, in half of the tiles."""
    power = tf.exp((2.0 * draws[:, 1] - 1.0) * math.log(1.4))[:, None, None, None]
    gray = tf.clip_by_value(images * STD + MEAN, 0.0, 1.0)
    return tf.where(draws[:, :1, None, None] < 0.5, images, (gray**power - MEAN) / STD), masks


def cutout(images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Hide a square of a quarter of the side, in half of the tiles (DeVries and Taylor, 2017, arXiv:1708.04552).

    It gets the mean gray, and its centre may be any pixel. The mask stays: what is salt is to be told from around it.
    """
    hidden = _squares(images.shape[1], draws[:, 1:3], 0.25) & (draws[:, :1, None] >= 0.5)
    return tf.where(hidden[..., None], 0.0, images), masks


def cutmix(images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Show a square of the next tile, image and mask, in half of the batch (Yun et al., 2019, arXiv:1905.04899).

    Its centre may be any pixel; before it is cut off at the border, its area is uniform in 0 to all of the input's.
    """
    shown = _squares(images.shape[1], draws[:, 1:3], tf.sqrt(draws[:, 3])) & (draws[:, :1, None] >= 0.5)
    return tuple(tf.where(shown[..., None], tf.roll(x, -1, 0), x) for x in (images, masks))


def _squares(size: int, centres: tf.Tensor, sides: float | tf.Tensor) -> tf.Tensor:
    """Tell which pixels are in each tile's square: its centre (B, 2), row and column, its side, all 0..1: (B, S, S)."""
    sides = tf.cast(tf.floor(sides * size), tf.float32)

    def near(draw: tf.Tensor) -> tf.Tensor:  # (B,) -> (B, S)
        first = (tf.floor(draw * size) - tf.floor(sides / 2))[:, None]
        line = tf.range(size, dtype=tf.float32)
        return (line >= first) & (line < first + sides[..., None])

    return near(centres[:, 0])[:, :, None] & near(centres[:, 1])[:, None, :]


WARP = Entry(
    "Normalise tiles and place them at random: mirrored, shifted, half of them scaled and rotated.", Geometry.warp
)
WARP2 = Entry("As warp, scaled and rotated by up to twice as much.", partial(Geometry.warp, strength=2.0))
AUGMENTATIONS: dict[str, Augmentation] = {
    "light": Augmentation("Change contrast by up to 15 %, brightness by up to a tenth of the gray range.", light),
    "gamma": Augmentation(
        "Raise gray values 0..1 to a power between 1 / 1.4 and 1.4, in half of the tiles.", gamma, draws=2
    ),
    "cutout": Augmentation(
        "Hide a square of a quarter of the side, in half of the tiles (DeVries and Taylor, 2017, arXiv:1708.04552).",
        cutout,
        draws=3,
    ),
    "cutmix": Augmentation(
        "Show a square of another tile, image and mask, in half of the tiles (Yun et al., 2019, arXiv:1905.04899).",
        cutmix,
        draws=4,
    ),
}


def list_augmentations() -> str:
    """Write a line for each name that `--augment` knows."""
    return list_names(_known())


def _known() -> dict[str, Entry]:
    return {"warp": WARP, "warp2": WARP2, **DISTORTIONS, **AUGMENTATIONS}


class Augmenter:
    """Places tiles in the network's input, with the augmentations that a text such as "warp+light" names.

    `warp` and `warp2` are the placing itself, done at random. Entries of DISTORTIONS say where else each pixel is read
    from; their displacements add up, and go into the one sampling that places image and mask. Then come entries of
    AUGMENTATIONS, in order. "none" only places.
    """

    def __init__(self, geometry: Geometry, text: str):
        """Read `text`; InputError, with the list of names, for an unknown one."""
        entries = [entry for _, entry in read_sum(text, _known(), "augmentation", "warp+light")]
        self._geometry, self._places = geometry, [entry for entry in entries if entry in (WARP, WARP2)]
        self._distortions = [entry for entry in entries if isinstance(entry, Distortion)]
        self._others = [entry for entry in entries if isinstance(entry, Augmentation)]
        self._sizes = [DRAWS, *(entry.draws for entry in (*self._distortions, *self._others))]

    @property
    def draws(self) -> int:
        """Random numbers wanted per tile."""
        return sum(self._sizes)

    def __call__(self, images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Augment tiles and masks {0, 1}, uint8 (B, 101, 101), by draws (B, self.draws): float32 (B, S, S, 1) each."""
        first, *others = tf.split(draws, self._sizes, axis=1)
        fields = [entry.function(others.pop(0), self._geometry.size) for entry in self._distortions]
        moved = tuple(sum(parts[1:], parts[0]) for parts in zip(*fields, strict=True)) if fields else None
        place, chance = Geometry.warp, tf.zeros_like(first) + NEUTRAL
        if self._places:
            place, chance = self._places[0].function, first
        images, masks = place(self._geometry, images, masks, chance, moved)
        for entry, part in zip(self._others, others, strict=True):
            images, masks = entry.function(images, masks, part)
        return images, masks
