"""Writing salt probabilities: as they come, whole at the end, and never over a file that exists."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from common.errors import InputError, refusals
from common.files import replacing
from data.png import encode_png
from data.tiles import TILE

ENDINGS = {"npy": "_probabilities.npy", "png": "_probabilities"}  # by kind: a file, a folder
Write = Callable[[np.ndarray], None]


@contextmanager
def writing_probabilities(path: str | Path, kind: str, ids: Sequence[str], *, replace: bool = False) -> Iterator[Write]:
    """Yield a function that takes the next tiles' probabilities, float (B, 101, 101) in 0..1, in the order of `ids`.

    kind "npy": `path` becomes one float16 array (N, 101, 101); "png": a folder of <id>.png, 8-bit gray, 255 = certainly
    salt. It appears when the block ends and every tile has come; on an error, or a Ctrl-C, there is nothing new.

    Raises:
        InputError: `path` exists (unless it is to be replaced), or cannot be written.
    """
    path, shape, done = Path(path), (len(ids), TILE, TILE), 0
    with writing_array(path, shape, replace) if kind == "npy" else _writing_folder(path, ids, replace) as write:

        def count_and_write(probabilities: np.ndarray) -> None:
            nonlocal done
            done += len(probabilities)
            if done > len(ids) or probabilities.shape[1:] != shape[1:]:
                raise ValueError(f"probabilities {probabilities.shape} make {done} tiles; there are {len(ids)}")
            write(probabilities)

        yield count_and_write
        if done < len(ids):
            raise ValueError(f"probabilities of {done} tiles; there are {len(ids)}")


def write_section(path: str | Path, probabilities: np.ndarray) -> None:
    """Write a section's probabilities, float32 (H, W) in 0..1: to an .npy float16, or a .png of 8 bits, 255 = salt.

    Raises:
        InputError: `path` exists, has another ending, or cannot be written.
    """
    path = Path(path)
    if path.suffix == ".npy":
        with writing_array(path, probabilities.shape) as write:
            write(probabilities)
    elif path.suffix == ".png":
        with _replacing_nothing(path) as temporary:
            temporary.write_bytes(_png(probabilities))
    else:
        raise InputError(f"{path} ends neither with .png nor with .npy; name a file that does")


def _png(probabilities: np.ndarray) -> bytes:
    return encode_png(cv2.convertScaleAbs(probabilities, alpha=255))  # rounds and clips, with no copy in float


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise InputError(f"{path} exists; move it away or name another")


@contextmanager
def _replacing_nothing(path: Path) -> Iterator[Path]:
    """Act as `replacing` for a path that must not exist, neither before nor after."""
    _refuse_existing(path)
    try:
        with replacing(path, exclusive=True) as temporary:
            yield temporary
    except FileExistsError:
        raise InputError(f"{path} was made by another run meanwhile; name another") from None


@contextmanager
def writing_array(path: Path, shape: tuple[int, ...], replace: bool = False) -> Iterator[Write]:
    """Write an .npy front to back: had it been mapped to memory, a full disk would end the process by a signal."""
    opened = replacing(path) if replace else _replacing_nothing(path)
    with opened as temporary, open(temporary, "wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda probabilities: file.write(probabilities.astype("<f2").tobytes())


@contextmanager
def _writing_folder(path: Path, ids: Sequence[str], replace: bool) -> Iterator[Write]:
    """Write a folder of PNGs, made in a hidden one beside it."""
    names = iter(ids)

    def write(probabilities: np.ndarray) -> None:
        for tile in probabilities:
            (folder / f"{next(names)}.png").write_bytes(_png(tile))

    if not replace:
        _refuse_existing(path)
    with (
        refusals("write", path, "name another place"),
        tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as staging,
    ):
        folder = Path(staging) / path.name  # one more: a temporary folder may be entered by its owner only
        folder.mkdir()
        yield write
        if replace and path.is_dir():
            path.rename(Path(staging) / "old")
        _refuse_existing(path)
        folder.rename(path)
