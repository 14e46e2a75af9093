"""Seismic-like tiles with salt, in the layout of Kaggle's TGS Salt Identification Challenge.

A section of 3 x 3 tiles is modelled at once and cut, and each tile's contrast is stretched on its own, as in
the real data. Reflectors follow a field of layer depth (dip, folds, faults, drag at the salt) through a
reflectivity series convolved with a Ricker wavelet. Salt is where a random field exceeds its quantile: its
border reflects, its inside is fainter and incoherent, and neither side is brighter on average. In one thing
it is kinder than the real data: tiles wholly inside salt, which carry an empty mask there, are left out.
"""

import math
from pathlib import Path

import cv2
import numpy as np

from data.kaggle.write import refuse_data, write_data_set
from data.sheets import draw_tiles
from data.synthetic.waves import ricker, texture
from data.tiles import TILE, read_tiles

SECTION = 3 * TILE  # px, side of a section
BLACK = 0.02  # share of black tiles
STRIPED = 0.09  # share of masks made of whole columns, a labelling artefact, among those with 10 to 90 % salt
DEPTHS = (50, 500, 960)  # least, likeliest and greatest depth of a section, in the units of depths.csv

Rng = np.random.Generator


# ---- a section ---------------------------------------------------------------------------------------------


def make_section(rng: Rng, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Make a section with about `share` of salt: its amplitudes, and the distance to the salt's border.

    Both float32 (SECTION, SECTION); the distance is in px and positive inside the salt.
    """
    side = math.ceil(SECTION * math.exp(-rng.uniform(0, math.log(4.5))))  # px; enlarged to SECTION at the end
    wavelength = rng.uniform(4, 11)  # px
    distance = _salt_distance(rng, side, share)
    depth = _layer_depth(rng, side, distance, wavelength)
    has_water = share == 0 and rng.random() < 0.25
    floor = depth.min() + rng.uniform(0.1, 0.6) * np.ptp(depth) if has_water else -math.inf  # of the sea
    layers = _reflections(rng, depth, wavelength, floor)
    scale, length = wavelength * rng.uniform(0.5, 1.2), wavelength * rng.uniform(0.3, 1.5)
    noise = texture(rng, side, scale, length, rng.normal(0, 0.7))
    layers += math.exp(rng.normal(-0.8, 1)) * noise * (depth > floor)

    # Salt: fainter, incoherent, often smeared steeply; some of the layers' energy leaks in.
    scale, length = wavelength * rng.uniform(0.7, 2.5), wavelength * rng.uniform(0.4, 2)
    inside = texture(rng, side, scale, length, rng.normal(math.pi / 2, 0.7)) + rng.uniform(0, 0.4) * layers
    inside *= 0.45 * math.exp(rng.normal(0, 0.5)) * layers.std()

    # Its border: a bright line where salt begins downwards, a dark one where it ends, faint where steep.
    downwards = cv2.Sobel(cv2.GaussianBlur(distance, (0, 0), 2), cv2.CV_32F, 0, 1, scale=1 / 8)  # flat top: 1
    strength = math.exp(rng.normal(1.2, 0.8)) * np.exp(0.5 * _smooth(rng, side, side / 12, side / 12))
    border = ricker(distance, wavelength) * strength * (0.8 * downwards + 0.2 * rng.normal()) * layers.std()

    image = layers + (inside - layers) / (1 + np.exp(-np.clip(2 * distance, -30, 30))) + border
    image = cv2.resize(image.astype(np.float32), (SECTION, SECTION), interpolation=cv2.INTER_CUBIC)
    return image, cv2.resize(distance, (SECTION, SECTION), interpolation=cv2.INTER_LINEAR) * (SECTION / side)


def _salt_distance(rng: Rng, side: int, share: float) -> np.ndarray:
    """Draw the signed distance in px (side, side) to the border of salt that covers `share`, positive inside."""
    if share == 0:
        return np.full((side, side), -1e3, np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    towards = rng.normal(math.pi / 2, 0.9)  # angle in which salt becomes likelier: mostly downwards
    slender = math.exp(rng.normal(0.15, 0.35))  # height to width of the bodies
    field = rng.uniform(0.8, 4) * (y * math.sin(towards) + x * math.cos(towards))
    for bodies, weight in ((2, 0.5), (5, 0.12), (12, 0.04)):  # across the section
        field += weight * _smooth(rng, side, side / bodies * slender, side / bodies / slender)
    field -= rng.uniform(0, 0.25) * np.abs(_smooth(rng, side, side / 5 * slender, side / 9))  # notches
    field += rng.uniform(0, 0.03) * _smooth(rng, side, 4, 4)
    salt = (field > np.quantile(field, 1 - share)).astype(np.uint8)
    # DIST_MASK_5: the exact one's last bits differ from run to run.
    inside, outside = (cv2.distanceTransform(m, cv2.DIST_L2, cv2.DIST_MASK_5) for m in (salt, 1 - salt))
    return cv2.GaussianBlur(inside - outside, (0, 0), 0.7)


def _layer_depth(rng: Rng, side: int, distance: np.ndarray, wavelength: float) -> np.ndarray:
    """Draw the depth in px (side, side), before all deformation, of the layer seen at each pixel."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    dip = 0.2 * rng.standard_t(2.5)
    depth = (y + dip * x) / math.hypot(1, dip)
    depth += rng.uniform(0, 0.07) * side * _smooth(rng, side, side, side / rng.uniform(1, 4))  # folds
    ripple = _smooth(rng, side, wavelength, wavelength * rng.uniform(1, 4))
    depth += rng.uniform(0, 0.25) * wavelength * ripple
    for _ in range(rng.poisson(1)):
        fault = x - rng.uniform(0, side) - rng.normal(0, 0.6) * (y - rng.uniform(0, side))  # px to its right
        depth += np.clip(fault / 2, 0, 1) * rng.normal(0, 0.6 * wavelength)
    reach = side * rng.uniform(0.05, 0.3)
    return depth + rng.uniform(0, 1) * reach * np.exp(np.minimum(distance, 0) / reach)  # dragged up by salt


def _reflections(rng: Rng, depth: np.ndarray, wavelength: float, floor: float) -> np.ndarray:
    """Amplitudes (side, side) of the layers at `depth`, std about 1, laterally varying; 0 above `floor`."""
    side, step = len(depth), 0.25
    grid = np.arange(depth.min() - 1, depth.max() + 1, step)
    wavelet = ricker(np.arange(-2 * wavelength, 2 * wavelength, step), wavelength)
    waves = []
    for per_px in (0.5, 0.3):
        series = rng.laplace(size=len(grid)) * (rng.random(len(grid)) < per_px * step)
        packages = np.interp(np.linspace(0, 7, len(grid)), np.arange(8), rng.standard_normal(8))
        series *= np.exp(rng.uniform(0.2, 1.2) * packages) * (grid > floor)
        series[np.searchsorted(grid, floor)] += 5 * math.isfinite(floor)
        wave = np.convolve(series, wavelet, "same")
        waves.append(np.interp(depth, grid, wave / (wave.std() + 1e-9)))
    gain = np.exp(rng.uniform(0.1, 0.6) * _smooth(rng, side, side / 3, side / 3))
    return gain * (waves[0] + 0.5 * _smooth(rng, side, side / 3, side / 3) * waves[1])


def _smooth(rng: Rng, side: int, height: float, width: float) -> np.ndarray:
    """Draw a random field (side, side), mean about 0 and std about 1, that changes over `height` and `width` px."""
    rows, columns = math.ceil(side / height) + 3, math.ceil(side / width) + 3
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    size = (round(columns * width), round(rows * height))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return 1.25 * cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)[top : top + side, left : left + side]


# ---- a data set --------------------------------------------------------------------------------------------


def make_tiles(rng: Rng, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make `n` tiles in random order: images uint8 (n, 101, 101), masks bool (n, 101, 101), depths int (n,)."""
    tiles: list[tuple[np.ndarray, np.ndarray, int]] = []
    k = rng.random()
    while len(tiles) < n:
        k += 0.6180339887  # golden ratio: k mod 1 is spread evenly, so few sections already have the right mix
        section, distance = make_section(rng, share=0.68 * max(0, 1.04 * (k % 1) - 0.04))
        z = rng.triangular(*DEPTHS)
        for top in range(0, SECTION, TILE):
            for left in range(0, SECTION, TILE):
                window = np.s_[top : top + TILE, left : left + TILE]
                tile, mask = section[window], _label(rng, distance[window])
                if mask.all() or np.ptp(tile) < 0.05 * section.std():  # nothing but salt; nothing but water
                    continue
                gray = np.round(255 * (tile - tile.min()) / np.ptp(tile)).astype(np.uint8)
                tiles.append((gray, mask, min(DEPTHS[2], round(z + top / 5))))
    order = rng.permutation(len(tiles))[:n]
    images, masks, depths = (np.stack([tiles[i][part] for i in order]) for part in range(3))
    images[np.flatnonzero(~masks.any(axis=(1, 2)))[: round(BLACK * n)]] = 0
    return images, masks, depths


def _label(rng: Rng, distance: np.ndarray) -> np.ndarray:
    """Label salt, a mask bool (101, 101), at positive `distance`, with the blemishes of the real labels."""
    mask = distance > 0
    if -2 < distance.max() <= 0:  # salt just outside the tile: a tiny mask at the edge
        return distance > distance.max() - 1
    columns = mask.mean(axis=0) > 0.5
    if 0.1 < mask.mean() < 0.9 and 0 < columns.mean() < 1 and rng.random() < STRIPED:
        return np.broadcast_to(columns, mask.shape)
    return mask


def make_sample(path: str | Path, *, n_train: int = 400, n_test: int = 100, seed: int = 1) -> None:
    """Write a data set of `n_train` labelled and `n_test` further tiles to the folder `path`.

    The same seed gives the same bytes; an interruption leaves nothing half-written.

    Raises:
        InputError: `path` holds such data already, or cannot be written.
    """
    refuse_data(path)
    rng = np.random.default_rng(seed)
    images, masks, depths = make_tiles(rng, n_train + n_test)
    ids = [f"{value:010x}" for value in rng.choice(16**10, n_train + n_test, replace=False)]
    write_data_set(path, ids, images, masks, depths, n_train=n_train)


def sample_sheet(data_path: str | Path, out_png: str | Path, rows: int = 3, columns: int = 8) -> None:
    """Draw a contact sheet of labelled tiles picked at random from `data_path`, salt outlined."""
    train = Path(data_path) / "train"
    tiles = read_tiles(train / "images", train / "masks")
    picked = np.random.default_rng(0).permutation(len(tiles))[: rows * columns]
    legend = "Generated tiles of 101 x 101 pixels, enlarged twice."
    draw_tiles(out_png, tiles.images[picked], masks=tiles.masks[picked], columns=columns, legend=legend)
