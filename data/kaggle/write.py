"""Writing tiles in the layout of Kaggle's TGS Salt Identification Challenge."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from common.errors import InputError, refusals
from common.files import make_folder
from data.png import encode_png
from data.rle import encode_rle

ENTRIES = ("depths.csv", "sample_submission.csv", "train.csv", "test", "train")  # in the order they appear


def refuse_data(path: str | Path) -> None:
    """Raise InputError when `path` holds such data already."""
    for entry in ENTRIES:
        if (Path(path) / entry).exists():
            raise InputError(f"{Path(path) / entry} exists; move it away or choose another --path")


def write_data_set(
    path: str | Path, ids: Sequence[str], images: np.ndarray, masks: np.ndarray, depths: Sequence[int], *, n_train: int
) -> None:
    """Write tiles, uint8 and masks bool (N, 101, 101), to the folder `path`, those after `n_train` without their masks.

    All is written to a hidden folder in `path` and renamed at the end, so an interruption leaves nothing half-written.

    Raises:
        InputError: `path` holds such data already, or cannot be written.
    """
    path, n_test = Path(path), len(ids) - n_train
    with refusals("write", path, "choose another --path"):
        refuse_data(path)
        make_folder(path)
        with tempfile.TemporaryDirectory(prefix=".sample-", dir=path) as staging:
            folder = Path(staging)
            _write_tiles(folder / "train", ids[:n_train], images[:n_train], masks[:n_train])
            _write_csv(folder / "train.csv", "id,rle_mask", ids[:n_train], map(encode_rle, masks[:n_train]))
            _write_csv(folder / "depths.csv", "id,z", ids, depths)
            if n_test:
                _write_tiles(folder / "test", ids[n_train:], images[n_train:])
                _write_csv(folder / "sample_submission.csv", "id,rle_mask", ids[n_train:], ["1 1"] * n_test)
            for entry in filter(lambda entry: (folder / entry).exists(), ENTRIES):
                (folder / entry).rename(path / entry)


def _write_tiles(folder: Path, ids: Sequence[str], images: np.ndarray, masks: np.ndarray | None = None) -> None:
    """Write images/<id>.png, three equal channels, and masks/<id>.png: as Kaggle's, 16 bits or, empty, 8."""
    (folder / "images").mkdir(parents=True)
    for name, image in zip(ids, images, strict=True):
        (folder / "images" / f"{name}.png").write_bytes(encode_png(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)))
    if masks is not None:
        (folder / "masks").mkdir()
        for name, mask in zip(ids, masks, strict=True):
            pixels = mask * np.uint16(65535) if mask.any() else mask.astype(np.uint8)
            (folder / "masks" / f"{name}.png").write_bytes(encode_png(pixels))


def _write_csv(path: Path, header: str, ids: Sequence[str], values: Iterable[object]) -> None:
    rows = (f"{name},{value}" for name, value in zip(ids, values, strict=True))
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
