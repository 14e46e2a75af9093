"""Distortions by name: random displacements of the network input's pixels, which Geometry.warp samples with in one go.

Each is a function of draws, float32 (B, `draws`), uniform in [0, 1), and of the input's side S, and returns how far, in
input pixels, the place that a pixel is read from lies below and to the right of the pixel: two tensors float32 that
broadcast to (B, S, S). Half of the tiles stay as they are: those whose first draw is below 0.5. So draws of 0 are
neutral. The entries of DISTORTIONS say how many it wants.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from common.names import Entry


@dataclass(frozen=True)
class Distortion(Entry):
    """`function`, as above, which takes `draws` random numbers a tile."""

    draws: int


SLOPE = 0.15  # of a sheared vertical, at most
CELLS, STRETCH = 5, 0.3  # of the grid: cells a side, and how much wider or narrower than the others one may be
KNOTS, REACH = 7, 0.05  # of the elastic field: control points a side, and the largest displacement in sides


def shear(draws: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Slide rows over each other, in half of the tiles: verticals lean by up to 0.15 to either side."""
    slope = _gated(draws, 2.0 * draws[:, 1:2] - 1.0) * SLOPE  # (B, 1)
    line = tf.range(size, dtype=tf.float32) - (size - 1) / 2
    return tf.zeros((1, 1, 1)), (slope * line)[:, :, None]  # (B, S, 1)


def grid(draws: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Make rows and columns of 5 x 5 cells up to 30 % wider or narrower than others, in half of the tiles.

    As GridDistortion of Albumentations (Buslaev et al., 2020, arXiv:1809.06839), but the borders stay where they are.
    """

    def along(part: tf.Tensor) -> tf.Tensor:  # (B, CELLS) -> (B, S)
        widths = 1.0 + STRETCH * (2.0 * part - 1.0)
        ends = tf.cumsum(widths, axis=1) / tf.reduce_sum(widths, axis=1, keepdims=True)
        moved = ends - tf.range(1, CELLS + 1, dtype=tf.float32) / CELLS
        moved = tf.pad(moved, ((0, 0), (1, 0)))  # (B, CELLS + 1), in sides: of the lines between cells
        return _gated(draws, moved @ _weights(size, CELLS, 1).T) * (size - 1)

    vertical, horizontal = tf.split(draws[:, 1:], 2, axis=1)
    return along(vertical)[:, :, None], along(horizontal)[:, None, :]


def elastic(draws: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Displace pixels by a smooth random field of up to a twentieth of the input's side, in half of the tiles.

    As Simard et al. (2003, Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis), with
    a cubic B-spline through a coarse grid of draws in place of a blurred draw a pixel: less to draw, and the field is
    bounded. A pixel is displaced by less than the grid's pitch, so nothing is folded over.
    """
    weights = _weights(size, KNOTS - 3, 3)
    points = REACH * size * _gated(draws, 2.0 * draws[:, 1:] - 1.0)
    down, right = tf.unstack(tf.reshape(points, (-1, 2, KNOTS, KNOTS)), axis=1)  # (B, KNOTS, KNOTS) each
    return weights @ down @ weights.T, weights @ right @ weights.T  # (B, S, S)


DISTORTIONS: dict[str, Distortion] = {
    "shear": Distortion(
        "Slide rows over each other, in half of the tiles: verticals lean by up to 0.15 to either side.", shear, draws=2
    ),
    "grid": Distortion(
        "Make rows and columns of 5 x 5 cells up to 30 % wider or narrower than others, in half of the tiles.",
        grid,
        draws=1 + 2 * CELLS,
    ),
    "elastic": Distortion(
        "Displace pixels by a smooth random field of up to a twentieth of the input's side, in half of the tiles.",
        elastic,
        draws=1 + 2 * KNOTS**2,
    ),
}


def _gated(draws: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Keep `values` (B, n) of the tiles whose first draw says so, and 0 of the others."""
    return tf.where(draws[:, :1] < 0.5, 0.0, values)


def _weights(size: int, cells: int, degree: int) -> np.ndarray:
    """Compute what each of `cells` + `degree` control points of a uniform B-spline, of degree 1 or 3, weighs.

    At each pixel: float32 (size, cells + degree); the spline's cells reach from the first pixel to the last.
    """
    at = np.linspace(0, cells, size)
    first = np.minimum(at.astype(int), cells - 1)
    t = at - first
    near = {
        1: [1 - t, t],
        3: [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6],
    }[degree]
    weights = np.zeros((size, cells + degree), np.float32)
    for k, weight in enumerate(near):
        weights[np.arange(size), first + k] = weight
    return weights
