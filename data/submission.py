"""Submissions: the CSV of id and run-length-encoded mask that Kaggle takes."""

import csv
import time
from datetime import datetime
from pathlib import Path

from data.errors import InputError
from data.files import make_folder, replacing
from data.kaggle import check_masks, read_csv
from data.tiles import list_pngs

COLUMNS = ("id", "rle_mask")


def tiles_to_predict(data_path: str | Path) -> dict[str, Path]:
    """Map id -> path of the tiles to predict: of `test/images` under `data_path`, else of the PNGs in it."""
    root = Path(data_path)
    test = root / "test" / "images"
    if test.is_dir():
        return list_pngs(test)
    if (root / "test.zip").is_file():
        raise InputError(f"{root}/test.zip is packed; unpack it: python -m zipfile -e {root}/test.zip {root}/test")
    if root.is_dir() and not any(root.glob("*.png")):
        raise InputError(f"no test/images and no .png in {root}; name a folder of tiles with --data_path")
    return list_pngs(root)


def expected_ids(data_path: str | Path) -> set[str]:
    """The ids a submission must have: those of sample_submission.csv under `data_path`, else of its tiles."""
    sample = Path(data_path) / "sample_submission.csv"
    return set(read_csv(sample, COLUMNS)["id"]) if sample.is_file() else set(tiles_to_predict(data_path))


def validate_submission(path: str | Path, ids: set[str]) -> tuple[int, int]:
    """Check a submission: its columns, each id of `ids` once and no other, each mask decodable.

    Returns:
        how many rows it has, and how many of them with salt.
    Raises:
        InputError: naming the first id or line that is wrong.
    """
    table = read_csv(path, COLUMNS)
    found = set(table["id"])
    for name in sorted(ids - found):
        raise InputError(f"{path} lacks the id '{name}' ({len(ids - found)} missing); predict again")
    for name in sorted(found - ids):
        raise InputError(f"{path} has the id '{name}', which is not asked for ({len(found - ids)} such); remove it")
    check_masks(path, table)
    return len(table), int((table["rle_mask"] != "").sum())


def write_submission(folder: str | Path, name: str, masks: dict[str, str]) -> Path:
    """Write submission_<name>_<time>.csv of id -> run-length string; validated before it appears, never overwriting.

    Returns:
        the path written.
    """
    make_folder(folder)
    while True:
        path = Path(folder) / f"submission_{name}_{datetime.now():%Y%m%d-%H%M%S}.csv"
        try:
            with replacing(path, exclusive=True) as temporary:
                with open(temporary, "w", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow(COLUMNS)
                    writer.writerows(masks.items())
                validate_submission(temporary, set(masks))
            return path
        except FileExistsError:
            time.sleep(0.1)  # another one of this very second
