"""Exact validation: every tile once, on its own 101x101 pixels, sums over ranks divided once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.ring.base import Ring
from data.tiles import TileSet
from models.metrics import points
from models.predictor import Predictor

EXAMPLES = 6  # tiles shown in TensorBoard


@dataclass(frozen=True)
class Validation:
    """`score`: the competition's, 0..1, at threshold 0.5; `loss`: binary cross-entropy in nats a pixel.

    `examples`: uint8 (EXAMPLES or fewer x 101, 3 x 101), a row a tile with salt: image, truth, probability.
    """

    score: float
    loss: float
    examples: np.ndarray


def validate(
    predictor: Predictor, tiles: TileSet, ring: Ring, progress: Callable[[int], object] = lambda count: None
) -> Validation:
    """Score `tiles` with the ranks sharing the work; every rank gets the same result. `progress`: as in Predictor."""
    mine = slice(ring.rank, None, ring.size)
    images, masks = tiles.images[mine], tiles.masks[mine]
    probabilities = predictor(images, progress)
    right = np.where(masks, probabilities, 1.0 - probabilities)
    entropy = -np.log(np.maximum(right, 1e-7)).mean(axis=(1, 2), dtype=np.float64)  # (n,)
    sums = [points(masks, probabilities > 0.5).sum(), entropy.sum(), len(images)]
    won, entropy_sum, count = ring.sum(np.array(sums, np.float64), "validation")

    shown = np.flatnonzero(masks.any(axis=(1, 2)) & np.isfinite(entropy))[:EXAMPLES]  # what is no number has no gray
    rows = [np.hstack([images[i], masks[i] * 255, probabilities[i] * 255]).astype(np.uint8) for i in shown]
    examples = np.vstack(rows) if rows else np.zeros((101, 303), np.uint8)
    return Validation(float(won / (10 * count)), float(entropy_sum / count), examples)
