"""Reading and checking tiles: PNG files in, uint8 arrays out, or one line that names the bad file."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import InputError, refusals
from common.progress import bar, counted
from data.png import decode_png

TILE = 101  # side of a tile in pixels
THREADS, CHUNK = 2, 64  # that read a folder; files that one of them takes at once
MAX_BYTES = 1 << 20  # of a file; a tile has 10 kB
MAX_SECTION_BYTES = 1 << 29  # 200 megapixels of 16 bits, hardly compressed


@dataclass(frozen=True)
class TileSet:
    """Labelled tiles: `ids` sorted; `images` uint8 (N, 101, 101); `masks` uint8 {0, 1} (N, 101, 101), 1 = salt."""

    ids: list[str]
    images: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def coverage(self) -> np.ndarray:
        """Share of salt pixels per tile, float64 (N,) in 0..1."""
        return self.masks.mean(axis=(1, 2))


def is_id(text: str) -> bool:
    """Tell whether a tile can have this id: printable, so that a CSV holds it, and no path to another folder."""
    return text.isprintable() and not {"/", "\\"} & set(text)


def list_pngs(folder: str | Path) -> dict[str, Path]:
    """Map id -> path of every PNG in `folder`, sorted by id; hidden files are passed over.

    InputError: no such folder, no PNG in it, a file that is not a PNG, or a name that cannot be an id.
    """
    folder = Path(folder)
    with refusals("read", f"the folder {folder}"):
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    for name in names:
        if not name.endswith(".png"):
            raise InputError(f"{folder / name} is not a .png; rename it, or move it out of the folder of tiles")
        if not is_id(name):  # line breaks, bytes that are not UTF-8, backslashes
            raise InputError(f"{folder}/ has a file named {name!a}, which cannot be an id; rename it")
    files = {name.removesuffix(".png"): folder / name for name in names}
    if not files:
        raise InputError(f"no .png in {folder}; put the tiles there or name another folder")
    return dict(sorted(files.items()))


def check_is_file(path: str | Path) -> int:
    """Refuse a pipe or a device, which could be read forever; returns the length in bytes. OSError: there is none."""
    status = os.stat(path)
    if stat.S_IFMT(status.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"{path} is a pipe or a device; put the file itself there")
    return status.st_size


def read_image(path: str | Path, size: int = TILE) -> np.ndarray:
    """Read a gray tile, uint8 (size, size), from a PNG in gray or three equal channels of 8 bits."""
    pixels, depth = read_png(path, size)
    if depth != 8:
        raise InputError(f"{path} has {depth} bits a pixel; images are 8-bit, convert it")
    return pixels


def read_mask(path: str | Path, size: int = TILE) -> np.ndarray:
    """Read a mask, uint8 {0, 1} (size, size), from a PNG that holds 0 and the largest value (65535 of 16 bits)."""
    pixels, _ = read_png(path, size)
    most = np.iinfo(pixels.dtype).max
    salt = pixels == most
    if np.count_nonzero(salt) < np.count_nonzero(pixels):
        between = int(pixels[~salt & (pixels > 0)][0])
        raise InputError(f"{path} has the value {between}; a mask holds 0 and {most} only")
    return salt.view(np.uint8)


def read_images(paths: Iterable[Path]) -> np.ndarray:
    """Read gray tiles: uint8 (N, 101, 101)."""
    return np.stack([read_image(path) for path in paths])


def read_ahead(tiles: dict[str, Path], batch_size: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield ids and images uint8 (B, 101, 101) of id -> path, reading one batch ahead in a thread."""
    ids = list(tiles)
    parts = [ids[k : k + batch_size] for k in range(0, len(ids), batch_size)]
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read_images, [tiles[name] for name in parts[0]])
        for part, following in zip(parts, [*parts[1:], []], strict=True):
            images = ahead.result()
            if following:
                ahead = pool.submit(read_images, [tiles[name] for name in following])
            yield part, images


def read_tiles(images: str | Path, masks: str | Path) -> TileSet:
    """Read and check every tile of folder `images` with its mask of the same name in folder `masks`.

    Raises:
        InputError: naming the first file that is missing, left over or wrong.
    """
    image_paths, mask_paths = list_pngs(images), list_pngs(masks)
    for missing in sorted(image_paths.keys() - mask_paths.keys()):
        raise InputError(f"no mask for {image_paths[missing]}; expected {Path(masks) / missing}.png")
    for extra in sorted(mask_paths.keys() - image_paths.keys()):
        raise InputError(f"no image for {mask_paths[extra]}; expected {Path(images) / extra}.png")
    with bar("read tiles", 2 * len(image_paths), "file") as progress:
        read = [
            read_all(kind, list(paths.values()), progress)
            for kind, paths in ((read_image, image_paths), (read_mask, mask_paths))
        ]
    return TileSet(list(image_paths), *read)


def read_all(read: Callable[[Path], np.ndarray], paths: Sequence[Path], progress) -> np.ndarray:
    """Stack what `read` makes of each path; in two threads, which take turns inflating and waiting for Python.

    Each takes CHUNK files at once: handed out singly, they would mostly wait for each other. Of several files that are
    wrong the first is named.
    """
    chunks = [paths[k : k + CHUNK] for k in range(0, len(paths), CHUNK)]
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda chunk: [read(path) for path in counted(chunk, progress)], chunks)
        return np.stack([tile for tiles in found for tile in tiles])


def read_png(path: str | Path, side: int | None = None) -> tuple[np.ndarray, int]:
    """Read the PNG of a tile of `side` x `side` pixels, or of a section; returns what decode_png does."""
    limit = MAX_BYTES if side else MAX_SECTION_BYTES
    try:
        with refusals("read", path):
            if (length := check_is_file(path)) > limit:
                raise InputError(f"{path} has {length} bytes; a {'tile' if side else 'section'} has at most {limit}")
            return decode_png(Path(path).read_bytes(), side)
    except ValueError as error:
        raise InputError(f"{path} {error}") from None
