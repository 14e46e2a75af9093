"""Between tiles and the network's input, on the device: standardise, place, warp, and back to the tile.

Everything geometric is one map from the input's pixels to tile coordinates, affine but for distortions, followed by one
gather that reflects at the tile's borders. Without augmentation it places the tile in the middle of the input; shift,
flip, scale, rotation and distortions change the map only, so image and mask cannot move apart. Gathers compile under
XLA (TensorFlow's ImageProjectiveTransform does not), and at scale 1 the map hits pixel centres: nothing is blurred.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

from data.tiles import TILE

MEAN, STD = 0.4714, 0.1615  # of the 3,601 training tiles, gray values in 0..1
DRAWS = 8  # random numbers a tile that warp() gets, and each augmentation that does not say how many it wants
NEUTRAL = (0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5, 0.5)  # draws with which warp() only places the tile


@dataclass(frozen=True)
class Geometry:
    """Where a 101x101 tile lies in the network's input of `size` x `size` pixels.

    The tile is enlarged by the largest whole factor that fits, and the rest is reflected (128: as it is, 256: doubled);
    a size below 101 shrinks it. Or it is brought to `tile` x `tile` pixels, `size` at most.
    """

    size: int
    tile: int | None = None

    @property
    def factor(self) -> float:
        """Input pixels per tile pixel."""
        return self.inside / TILE

    @property
    def inside(self) -> int:
        """Side of the tile in the input, in input pixels."""
        return self.tile or (self.size // TILE * TILE if self.size >= TILE else self.size)

    @property
    def offset(self) -> int:
        """First row and column of the tile in the input."""
        return (self.size - self.inside) // 2

    def place(self, images: tf.Tensor) -> tf.Tensor:
        """Standardise tiles, uint8 (B, 101, 101), and place them: float32 (B, S, S, 1)."""
        y, x = self._coordinates()
        return standardise(_bilinear(images, y[None], x[None]))[..., None]  # (B, S, S, 1)

    def to_tile(self, values: tf.Tensor) -> tf.Tensor:
        """Bring network outputs, float32 (B, S, S, 1), back to the tile: (B, 101, 101), averaging enlarged pixels."""
        first, last = self.offset, self.offset + self.inside
        values = values[:, first:last, first:last]
        whole, left = divmod(self.inside, TILE)
        if left:
            values = tf.image.resize(values, (TILE, TILE))
        elif whole > 1:
            values = tf.nn.avg_pool2d(values, whole, whole, "VALID")
        return values[..., 0]

    def warp(
        self,
        images: tf.Tensor,
        masks: tf.Tensor,
        draws: tf.Tensor,
        moved: tuple[tf.Tensor, tf.Tensor] | None = None,
        strength: float = 1.0,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Standardise tiles and place them at random: mirrored, shifted, half of them scaled and rotated.

        Args:
            images, masks: uint8 (B, 101, 101), masks {0, 1}.
            draws: float32 (B, DRAWS), uniform in [0, 1): the only source of chance, so that equal draws repeat exactly.
            moved: how far down and right of each pixel of the input it is read from as well, in input pixels, float32
                (B, S, S) or what broadcasts to it; None, nowhere else.
            strength: of scale and rotation; 1: by up to 1.2 and 10 degrees.
        Returns:
            images float32 (B, S, S, 1) and masks float32 {0, 1} (B, S, S, 1).
        """
        mirror = tf.where(draws[:, 0] < 0.5, -1.0, 1.0)  # left and right only: gravity tells up from down
        slack = max(self.size - self.inside, round(0.12 * self.size))  # input pixels the tile may move in all
        shift_y, shift_x = ((slack + 1) // 2 - tf.floor(draws[:, k] * (slack + 1)) for k in (1, 2))
        turned = tf.where(draws[:, 3] < 0.5, 0.0, strength)
        angle = turned * _between(draws[:, 4], -10 * math.pi / 180, 10 * math.pi / 180)
        scale = tf.exp(turned * _between(draws[:, 5], -math.log(1.2), math.log(1.2)))
        y, x = self._coordinates(shift_y, shift_x, mirror, angle, scale, moved=moved)
        masks = tf.cast(_nearest(masks, y, x), tf.float32)
        return standardise(_bilinear(images, y, x))[..., None], masks[..., None]

    def _coordinates(
        self, shift_y=0.0, shift_x=0.0, mirror=1.0, angle=0.0, scale=1.0, *, moved=None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Compute the tile coordinates 0..100 (rows, columns) of the input's pixels, each ([B,] S, S)."""
        centre = self.offset + (self.inside - 1) / 2  # of the tile, in input pixels: flips and rotations turn about it
        shift_y, shift_x, mirror, angle, scale = (
            tf.convert_to_tensor(value, tf.float32)[..., None, None]
            for value in (shift_y, shift_x, mirror, angle, scale)
        )
        line = tf.range(self.size, dtype=tf.float32) - centre
        dy, dx = line[:, None] - shift_y, line[None, :] - shift_x  # ([B,] S, 1), ([B,] 1, S)
        if moved:
            dy, dx = dy + moved[0], dx + moved[1]
        step = 1.0 / (self.factor * scale)  # tile pixels per input pixel
        middle = (TILE - 1) / 2
        y = (tf.cos(angle) * dy + tf.sin(angle) * dx) * step + middle
        x = (tf.cos(angle) * dx - tf.sin(angle) * dy) * step * mirror + middle
        return _reflect(y), _reflect(x)


def standardise(images: tf.Tensor) -> tf.Tensor:
    """Bring gray values in 0..255 to zero mean and unit variance over the training tiles, float32."""
    return (tf.cast(images, tf.float32) / 255.0 - MEAN) / STD


def _between(draws: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return low + (high - low) * draws


def _reflect(line: tf.Tensor) -> tf.Tensor:
    """Bring real coordinates into the tile, 0..100, by reflection at its border pixels, edge once."""
    last = TILE - 1
    return last - tf.abs(last - (line - 2 * last * tf.floor(line / (2 * last))))


def _nearest(tiles: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Look up the pixels of `tiles` (B, 101, 101) nearest to coordinates (B or 1, S, S) in 0..100: (B, S, S)."""
    return _gather(tiles, tf.cast(tf.round(y) * TILE + tf.round(x), tf.int32))


def _bilinear(tiles: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Interpolate values of `tiles` (B, 101, 101) at coordinates (B or 1, S, S) in 0..100: float32 (B, S, S)."""
    top, left = (tf.minimum(tf.floor(line), TILE - 2) for line in (y, x))  # each has a neighbour below and to the right
    down, right = y - top, x - left
    first = tf.cast(top * TILE + left, tf.int32)  # (B or 1, S, S)

    def corner(dy: int, dx: int) -> tf.Tensor:
        return tf.cast(_gather(tiles, first + (dy * TILE + dx)), tf.float32)

    upper = corner(0, 0) + (corner(0, 1) - corner(0, 0)) * right
    lower = corner(1, 0) + (corner(1, 1) - corner(1, 0)) * right
    return upper + (lower - upper) * down


def _gather(tiles: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Look up pixels of `tiles` (B, 101, 101) by their numbers, row after row, (B or 1, S, S): (B, S, S)."""
    flat = tf.reshape(tiles, (-1, TILE * TILE))
    if index.shape[0] == 1:
        return tf.gather(flat, index[0], axis=1)
    return tf.gather(flat, index, batch_dims=1)
