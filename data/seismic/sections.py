"""Seismic sections of any size: found, read with what in them means nothing, and pictures of what was predicted."""

import errno
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.errors import InputError, refusals, refuse_broken_link
from common.files import UNSUPPORTED, replacing
from data.png import check_size, encode_png
from data.seismic.amplitudes import Stretch, describe_gray, describe_nothing, find_nothing
from data.seismic.orientation import looks_turned
from data.tiles import TILE, check_is_file, read_png

ENDINGS = (".png", ".npy")

# ---- reading -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A section as it was read: `gray` uint8 (H, W); `nothing` bool (H, W), samples that mean nothing; `remarks`."""

    gray: np.ndarray
    nothing: np.ndarray
    remarks: tuple[str, ...]


def read_section(path: str | Path) -> np.ndarray:
    """Read a section, gray values uint8 (H, W); see load_section."""
    return load_section(path).gray


def load_section(path: str | Path) -> Section:
    """Read a section from a gray .png of 8 or 16 bits or an .npy of two dimensions; rows are time or depth.

    Values of 8 bits are taken as they are. All others, 16 bits included, are amplitudes in a unit of their own: they
    are stretched linearly, the 0.5th percentile to 0 and the 99.5th to 255, so that a few spikes do not gray the rest.
    What means nothing (dead traces, NaN, fill values) takes no part in this, and is said among the remarks.

    Raises:
        InputError: the file cannot be read, is damaged, or holds something else.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        values = _open_npy(path)
    elif path.suffix.lower() == ".png":
        values, depth = read_png(path)
        if depth < 8:
            raise InputError(f"{path} has {depth} bits a pixel; sections are 8- or 16-bit, convert it")
    else:
        raise InputError(f"{path} is neither a .png, an .npy nor a .sgy; convert it, or name a folder of tiles")
    if values.dtype == np.uint8:
        gray, nothing, fills = np.array(values), find_nothing(values), ()
    else:
        stretch = Stretch.fit(values)
        (gray, nothing), fills = stretch.gray(values), stretch.fills
    turned = looks_turned(gray) and "looks turned on its side: rows must be time or depth; save it transposed if so"
    remarks = describe_nothing(nothing, fills), describe_gray(gray, nothing), turned
    return Section(gray, nothing, tuple(filter(None, remarks)))


def _open_npy(path: Path) -> np.ndarray:
    """Map an .npy of real numbers (H, W) to memory; it may be of gigabytes. Pickled objects are refused by numpy."""
    try:
        with refusals("read", path), warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote
            check_is_file(path)
            with open(path, "rb") as file:
                if file.read(2) == b"PK":
                    raise InputError(f"{path} is no .npy but a zip of several; save one array by numpy.save")
            try:
                values = np.load(path, mmap_mode="r", allow_pickle=False)
            except OSError as error:
                if error.errno not in {*UNSUPPORTED, errno.ENODEV}:  # a file system that maps nothing to memory
                    raise
                values = np.load(path, allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # numpy has Python parse the header: any of its errors
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is no .npy, or is truncated ({reason}); get the file again") from None
    if values.dtype.kind not in "iuf":
        raise InputError(f"{path} holds values of type {values.dtype}; sections are real numbers")
    if values.ndim != 2:
        raise InputError(f"{path} has the shape {values.shape}; sections have two dimensions")
    try:
        check_size(*values.shape[::-1])
    except ValueError as error:
        raise InputError(f"{path} {error}") from None
    return values


def find_sections(data_path: str | Path, *, folder: bool) -> list[Path]:
    """Find the sections that `data_path` names: a file that is not one tile, or with `folder` all those in a folder.

    Files in the folder that are no sections are passed over, which is said.

    Raises:
        InputError: with `folder`, there is none.
    """
    root = Path(data_path)
    refuse_broken_link(root)
    if root.is_file():
        if root.suffix.lower() == ".zip":  # of tiles
            return []
        alone = folder or root.suffix.lower() != ".png" or read_png(root)[0].shape != (TILE, TILE)
        return [root] if alone else []
    if not folder:
        return []
    files = sorted(path for path in root.glob("*") if not path.name.startswith("."))
    found = [path for path in files if path.suffix.lower() in ENDINGS]
    if not found:
        raise InputError(f"no .png and no .npy in {root}; name a section, or a folder of sections, with --data_path")
    if others := [path.name for path in files if path not in found]:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        print(f"passed over in {root}: {', '.join(others[:5])}{more}; only .png and .npy are read in a folder")
    return found


# ---- what comes of it --------------------------------------------------------------------------------------


def outline(section: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw a section, BGR uint8 (H, W, 3), with its salt outlined: orange in a dark rim, seen on any gray."""
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
            temporary.write_bytes(encode_png(picture))
    return list(pictures)
