"""Seismic sections of any size: reading them, and predicting them by overlapping windows, blended without seams."""

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from data import png
from data.errors import InputError
from data.files import replacing
from data.rle import TILE
from data.tiles import check_is_file, read_png

CLIPPED = (0.5, 99.5)  # percentiles of the amplitudes that become black and white
SAMPLED = 10_000_000  # about so many of a section's amplitudes tell its percentiles


# ---- reading -----------------------------------------------------------------------------------------------


def read_section(path: str | Path) -> np.ndarray:
    """Read a section, gray values uint8 (H, W), from a gray .png of 8 or 16 bits or an .npy of two dimensions.

    Values of 8 bits are taken as they are. All others, 16 bits included, are amplitudes in a unit of their own: they
    are stretched linearly, the 0.5th percentile to 0 and the 99.5th to 255, so that a few spikes do not gray the rest.

    Raises:
        InputError: the file cannot be read, is damaged, or holds something else.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return _to_gray(_read_npy(path))
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} is neither a .png nor an .npy; convert it, or name a folder of tiles")
    pixels, depth = read_png(path)
    if depth < 8:
        raise InputError(f"{path} has {depth} bits a pixel; sections are 8- or 16-bit, convert it")
    return _to_gray(pixels)


def _read_npy(path: Path) -> np.ndarray:
    """Read an .npy, uint8 as it is and other numbers as float32 (H, W), line by line: it may be twice that in float64.

    Only its header is numpy's to read, which is a literal: pickled objects are refused by their type.
    """
    try:
        check_is_file(path)
        with open(path, "rb") as file:
            shape, by_column, kind = _npy_header(file)
            if kind.kind not in "iuf":
                raise ValueError(f"holds values of type {kind}; sections are real numbers")
            if len(shape) != 2:
                raise ValueError(f"has the shape {shape}; sections have two dimensions")
            png.check_size(*shape[::-1])
            values = np.empty(shape[::-1] if by_column else shape, np.uint8 if kind == np.uint8 else np.float32)
            with np.errstate(all="ignore"):  # too large for float32: infinite, refused below
                for line in values:
                    read = np.fromfile(file, kind, len(line))
                    if len(read) < len(line):
                        raise ValueError("is truncated; get the file again")
                    line[:] = read
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} {error}") from None
    if bad := values.size - np.count_nonzero(np.isfinite(values)):
        raise InputError(f"{path} has {bad} values that are NaN or infinite; fill them, with 0 for example")
    return values.T if by_column else values


def _npy_header(file) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come one after the other, and type of an .npy."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote
            shape, by_column, kind = readers[np.lib.format.read_magic(file)](file)
            return tuple(map(int, shape)), by_column, kind  # numpy lets True pass for 1
    except OSError:
        raise
    except Exception:  # numpy has Python parse it: any of its errors
        raise ValueError("is no .npy (its header is not of the format); get the file again") from None


def _to_gray(values: np.ndarray) -> np.ndarray:
    """Stretch amplitudes (H, W), finite, to gray values uint8; uint8 stays as it is."""
    if values.dtype == np.uint8:
        return values
    step = int(np.ceil(np.sqrt(values.size / SAMPLED)))
    black, white = np.percentile(values[::step, ::step].astype(np.float64), CLIPPED)
    white = max(white, np.nextafter(black, np.inf))  # a dead section is black
    gray = np.empty(values.shape, np.uint8)
    for line, out in zip(values, gray, strict=True):
        out[:] = np.interp(line, (black, white), (0, 255)).round()
    return gray


def find_sections(data_path: str | Path, *, folder: bool) -> list[Path]:
    """The sections that `data_path` names: a file that is not one tile, or with `folder` every .png and .npy in it.

    Raises:
        InputError: with `folder`, there is none.
    """
    root = Path(data_path)
    if root.is_file():
        alone = folder or root.suffix.lower() != ".png" or read_section(root).shape != (TILE, TILE)
        return [root] if alone else []
    if not folder:
        return []
    found = sorted(path for path in root.glob("*") if path.suffix.lower() in (".png", ".npy"))
    if not found:
        raise InputError(f"no .png and no .npy in {root}; name a section, or a folder of sections, with --data_path")
    return found


# ---- predicting --------------------------------------------------------------------------------------------


def count_windows(shape: tuple[int, int], tile: int = TILE, overlap: float = 0.5) -> int:
    """How many windows `predict_section` takes for a section of this shape (H, W)."""
    rows, columns = (len(_starts(max(side, tile), tile, overlap)) for side in shape)
    return rows * columns


def predict_section(
    section: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
    *,
    tile: int = TILE,
    overlap: float = 0.5,
    batch_size: int = 64,
    on_done: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """Predict a section by overlapping windows; the weight of a window's pixel falls smoothly towards its border.

    Args:
        section: uint8 (H, W); one smaller than a window is reflected at its borders until it fills one.
        predict: from tiles uint8 (N, 101, 101) to probabilities float32 (N, 101, 101), N at most `batch_size`.
        tile: side of a window in the section's pixels. Another than 101 is scaled to 101 and back: twice that for a
            section with twice the training tiles' pixels a metre.
        overlap: least share of a window, 0 to 0.9, that the next one in its row or column covers as well.
        on_done: is told after each batch how many windows it had; see count_windows.
    Returns:
        probabilities float32 (H, W) in 0..1, to within rounding.
    """
    height, width = section.shape
    top, left = ((max(side, tile) - side) // 2 for side in section.shape)
    bottom, right = max(height, tile) - height - top, max(width, tile) - width - left
    section = np.pad(section, ((top, bottom), (left, right)), "reflect")
    total = np.zeros(section.shape, np.float32)
    windows = itertools.product(*(_windows(side, tile, overlap) for side in section.shape))
    while batch := list(itertools.islice(windows, batch_size)):
        images = np.stack([_resize(section[y, x], TILE) for (y, _), (x, _) in batch])  # (N, 101, 101)
        for ((y, weight_y), (x, weight_x)), probabilities in zip(batch, predict(images), strict=True):
            total[y, x] += _resize(probabilities, tile) * weight_y[:, None] * weight_x
        on_done(len(batch))
    return total[top : top + height, left : left + width]


def _starts(length: int, tile: int, overlap: float) -> np.ndarray:
    """First pixels of the windows along a side: as few as cover it with this overlap, evenly spread from end to end."""
    step = max(1, round(tile * (1 - overlap)))
    return np.linspace(0, length - tile, 1 + -(-(length - tile) // step)).round().astype(int)


def _windows(length: int, tile: int, overlap: float) -> list[tuple[slice, np.ndarray]]:
    """The windows along a side, each with its weights float32 (tile,), which add up to 1 at every pixel.

    A window's weights are the product of those along both sides, so they add up to 1 in the section too, with no
    second array of its size. They follow a raised cosine (Hann window), sampled so that it is nowhere 0.
    """
    slices = [slice(start, start + tile) for start in _starts(length, tile, overlap)]
    bump = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(length)
    for window in slices:
        total[window] += bump
    return [(window, (bump / total[window]).astype(np.float32)) for window in slices]


def _resize(pixels: np.ndarray, side: int) -> np.ndarray:
    """Scale a square to another side, averaging where it shrinks."""
    if len(pixels) == side:
        return pixels
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA if len(pixels) > side else cv2.INTER_LINEAR)


# ---- what comes of it --------------------------------------------------------------------------------------


def salt_mask(probabilities: np.ndarray, threshold: float, min_area: int = 0) -> np.ndarray:
    """Mask uint8 {0, 1} (H, W) of probabilities above the threshold, without patches below `min_area` pixels."""
    mask = (probabilities > threshold).astype(np.uint8)
    if min_area > 1:
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        large = statistics[:, cv2.CC_STAT_AREA] >= min_area  # by label; 0 is what is not salt
        large[0] = False
        mask = large[labels].astype(np.uint8)
    return mask


def outline(section: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture, BGR uint8 (H, W, 3), of a section with its salt outlined: orange in a dark rim, seen on any gray."""
    picture = cv2.cvtColor(section, cv2.COLOR_GRAY2BGR)
    borders = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
    for colour, width in (((0, 0, 0), 3), ((0, 200, 255), 1)):
        cv2.drawContours(picture, borders, -1, colour, width)
    return picture


def write_pictures(stem: str | Path, section: np.ndarray, mask: np.ndarray) -> list[str]:
    """Write the mask, 255 = salt, and the section with its salt outlined as PNGs; returns what their names end in."""
    pictures = {"_mask.png": mask * 255, "_outlined.png": outline(section, mask)}
    for ending, picture in pictures.items():
        with replacing(f"{stem}{ending}") as temporary:
            temporary.write_bytes(png.encode(picture))
    return list(pictures)
