"""Submissions: the CSV of id and run-length-encoded mask that Kaggle takes."""

import csv
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from common.errors import InputError, refusals, refuse_broken_link
from common.files import make_folder, replacing
from data.kaggle.find import unpack_test
from data.tables import check_masks, read_csv
from data.tiles import list_pngs

COLUMNS = ("id", "rle_mask")


def tiles_to_predict(data_path: str | Path, *, unpack: bool = True, flag: str = "data_path") -> dict[str, Path]:
    """Map id -> path of the tiles to predict: of `test/images` under `data_path`, else of the PNGs in it, or itself.

    Kaggle's test.zip, given or lying in the folder, is unpacked into data/tgs first; without `unpack` it is refused.
    `flag`: what messages say that the path was given by.
    """
    root = Path(data_path)
    for place in (root, root / "test.zip", root / "test" / "images"):
        refuse_broken_link(place)
    packed = root if root.suffix.lower() == ".zip" else root / "test.zip"
    if packed.is_file() and not (root / "test").exists():
        if not unpack:
            raise InputError(f"{packed} is packed; predict first, or name a folder with --{flag}")
        root = unpack_test(packed)
    if root.is_file():
        return {root.stem: root}
    test = root / "test" / "images"
    if test.is_dir():
        return list_pngs(test)
    if root.is_dir() and not any(root.glob("*.png")):
        raise InputError(f"no test/images and no .png in {root}; name a folder of tiles with --{flag}")
    return list_pngs(root)


def count_tiles(data_path: str | Path, *, flag: str = "data_path") -> int:
    """Count the tiles to predict, as tiles_to_predict finds them: for the one rank of a ring that is to unpack them."""
    return len(tiles_to_predict(data_path, flag=flag))


def expected_ids(data_path: str | Path) -> set[str]:
    """List the ids a submission must have: of sample_submission.csv under `data_path`, else of its tiles."""
    sample = Path(data_path) / "sample_submission.csv"
    return set(read_csv(sample, COLUMNS)["id"]) if sample.is_file() else set(tiles_to_predict(data_path, unpack=False))


def check_submission(path: str | Path, ids: set[str]) -> tuple[int, int]:
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


@contextmanager
def reserved(folder: str | Path, name: str) -> Iterator[Path]:
    """Yield the path <folder>/<name>_<time>, without an ending: no file has it yet, and no other run will be given it.

    Folders that were made for it go again when nothing was written to them.

    Raises:
        InputError: `folder` cannot be made or written to.
    """
    missing = [path for path in (Path(folder), *Path(folder).parents) if not path.exists()]
    make_folder(folder)
    while (stem := Path(folder, f"{name}_{datetime.now():%Y%m%d-%H%M%S}")) and not (reservation := _reserve(stem)):
        time.sleep(0.1)  # another run has this very second
    try:
        yield stem
    finally:
        reservation.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            for path in missing:
                path.rmdir()


def _reserve(stem: Path) -> Path | None:
    """Make the hidden file that reserves `stem`; None when the name is reserved or used."""
    reservation = stem.with_name(f".{stem.name}")
    with refusals("write", stem, "choose another folder"):
        try:
            reservation.touch(exist_ok=False)
        except FileExistsError:
            return None
    if any(path.name.startswith(stem.name) for path in stem.parent.iterdir()):
        reservation.unlink()
        return None
    return reservation


def write_submission(path: str | Path, masks: dict[str, str]) -> None:
    """Write the CSV of id -> run-length string; validated before it appears, never over another file.

    Raises:
        InputError: `path` exists or cannot be written, or a mask is none.
    """
    try:
        with replacing(path, exclusive=True) as temporary:
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(COLUMNS)
                writer.writerows(masks.items())
            check_submission(temporary, set(masks))
    except FileExistsError:
        raise InputError(f"{path} exists; move it away, or predict again") from None
