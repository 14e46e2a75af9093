"""Finding the data in what Kaggle delivers: folders, `train.zip` and `test.zip`, or the whole competition's zip."""

import shutil
import tempfile
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from data import rle
from data.errors import InputError
from data.files import make_folder

UNPACKED = Path("data/tgs")  # where zips are unpacked, under the current folder
CSV_NAMES = ("train.csv", "depths.csv", "sample_submission.csv")
MAX_FILE, MAX_TOTAL = 64 << 20, 2 << 30  # bytes; a tile has 10 kB and the competition 0.4 GB: more is a zip bomb


@dataclass(frozen=True)
class Dataset:
    """Where the parts of a data set lie; the optional ones are None when absent."""

    root: Path
    images: Path
    masks: Path
    test_images: Path | None
    train_csv: Path | None
    depths_csv: Path | None


def find_dataset(data_path: str | Path) -> Dataset:
    """Find `train/images|masks` (or `images|masks`) under `data_path`, unpacking zips into `data/tgs` first.

    Raises:
        InputError: no such data, or a zip that is damaged or would write outside its target.
    """
    root = Path(data_path)
    if root.is_file():
        root = _unpack([root], UNPACKED)
    elif not root.exists():
        raise InputError(f"no such folder or zip: {root}; give Kaggle's data with --data_path")
    elif not (root / "train").exists() and (zips := sorted(root.glob("*.zip"))):
        csvs = [root / name for name in CSV_NAMES if (root / name).is_file()]
        root = _unpack([*zips, *csvs], UNPACKED)
    train = next((folder for folder in (root / "train", root) if (folder / "images").is_dir()), None)
    if train is None:
        raise InputError(f"no train/images in {root}; unpack Kaggle's train.zip there, or give the zip itself")
    optional = {name: root / name if (root / name).is_file() else None for name in CSV_NAMES}
    test_images = root / "test" / "images"
    return Dataset(
        root=root,
        images=train / "images",
        masks=train / "masks",
        test_images=test_images if test_images.is_dir() else None,
        train_csv=optional["train.csv"],
        depths_csv=optional["depths.csv"],
    )


def read_csv(path: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV whose header is exactly `columns`, all as text; the first column holds unique ids.

    Raises:
        InputError: unreadable or malformed file, another header, no row, or an empty or repeated id.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{path} is not a CSV of {','.join(columns)} ({str(error).splitlines()[0]})") from None
    if tuple(table.columns) != columns:
        raise InputError(
            f"{path} has the columns {','.join(map(str, table.columns))[:80]}; expected {','.join(columns)}"
        )
    ids = table[columns[0]]
    if table.empty:
        raise InputError(f"{path} has a header and no rows")
    if (ids == "").any():
        raise InputError(f"{path} line {int((ids == '').argmax()) + 2}: the {columns[0]} is empty")
    if ids.duplicated().any():
        raise InputError(f"{path} has '{ids[ids.duplicated()].iloc[0]}' twice; keep one")
    return table


def read_depths(path: str | Path) -> dict[str, int]:
    """Read depths.csv: id -> depth below the surface in the data's own units (feet, Kaggle says)."""
    table = read_csv(path, ("id", "z"))
    depths = pd.to_numeric(table["z"], errors="coerce")
    if depths.isna().any():
        raise InputError(
            f"{path} line {int(depths.isna().argmax()) + 2}: the depth '{table['z'][depths.isna()].iloc[0]}'"
        )
    return dict(zip(table["id"], depths.astype(int), strict=True))


def check_train_csv(path: str | Path, ids: list[str]) -> None:
    """Check that every id of train.csv has a tile and that every mask in it can be decoded."""
    table = read_csv(path, ("id", "rle_mask"))
    for name in sorted(set(table["id"]) - set(ids)):
        raise InputError(f"{path} has the id '{name}', for which there is no image; remove the row or add the tile")
    check_masks(path, table)


def check_masks(path: str | Path, table: pd.DataFrame) -> None:
    """Check the rle_mask column of a table read from `path`."""
    for line, (name, text) in enumerate(zip(table["id"], table["rle_mask"], strict=True), start=2):
        try:
            rle.decode(text)
        except ValueError as error:
            raise InputError(f"{path} line {line}, id '{name}': {error}") from None


# ---- zips --------------------------------------------------------------------------------------------------------


def _unpack(sources: list[Path], target: Path) -> Path:
    """Unpack zips (and copy CSVs) into `target`, part by part: each of train/ and test/ appears whole or not at all."""
    make_folder(target)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=target) as scratch:
        staging = Path(scratch)
        for source in sources:
            if source.suffix == ".csv":
                shutil.copyfile(source, staging / source.name)
            else:
                _unpack_zip(source, staging, depth=2)
        if not (staging / "train").exists() and not (staging / "test").exists():
            raise InputError(
                f"{sources[0]} holds no tiles; expected images/*.png and masks/*.png, or train.zip and test.zip"
            )
        for part in sorted(staging.iterdir()):
            _move_into_place(part, target / part.name)
    print(f"unpacked {', '.join(str(source) for source in sources)} into {target}/")
    return target


def _move_into_place(part: Path, target: Path) -> None:
    """Rename `part` to `target`; an existing target must hold the same files and is then kept."""
    if not target.exists():
        part.rename(target)
    elif _listing(part) != _listing(target):
        raise InputError(f"{target} exists and differs from the zip's; move it away and run this again")


def _listing(path: Path) -> dict[str, int]:
    """File sizes by relative path, of a folder or of a single file."""
    files = [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.stat().st_size for file in files}


def _unpack_zip(source: Path, staging: Path, depth: int) -> None:
    """Unpack the tiles, CSVs and inner train/test zips of one zip; other members are left in it."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(source, members)
            inner = [m for m in members if PurePosixPath(m.filename).name in ("train.zip", "test.zip")]
            # A member's place: its last two folders for a tile (images/x.png), its name for a CSV.
            part = "test" if source.stem == "test" else "train"
            places = {m: place for m in members if (place := _place(m.filename, part)) is not None}
            if len(set(places.values())) < len(places):
                repeated = next(place for place, n in Counter(places.values()).items() if n > 1)
                raise InputError(f"{source} holds {repeated} twice; keep one")
            for folder in {place.parent for place in places.values()}:
                make_folder(staging / folder)
            _extract(archive, {m: staging / place for m, place in places.items()})
            for member in inner if depth > 1 else []:
                path = staging / PurePosixPath(member.filename).name
                _extract(archive, {member: path})
                _unpack_zip(path, staging, depth - 1)
                path.unlink()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:  # RuntimeError: encrypted
        raise InputError(f"{source} cannot be unpacked ({error}); get the zip again") from None
    except OSError as error:
        raise InputError(f"cannot unpack {source}: {error.strerror}") from None


def _check_members(source: Path, members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise InputError(
                f"{source} holds '{member.filename}', which would leave the target folder; do not use this zip"
            )
        if path.suffix.lower() in (".png", ".csv") and member.file_size > MAX_FILE:
            raise InputError(f"{source} holds '{member.filename}' of {member.file_size >> 20} MiB; do not use this zip")
    if sum(member.file_size for member in members) > MAX_TOTAL:
        raise InputError(f"{source} would unpack to more than {MAX_TOTAL >> 30} GiB; do not use this zip")


def _place(name: str, part: str) -> Path | None:
    """Where a member belongs under the target: [train/|test/]images|masks/x.png or a known CSV; None = not ours."""
    path = PurePosixPath(name)
    if path.name in CSV_NAMES:
        return Path(path.name)
    if path.suffix.lower() != ".png" or path.parent.name not in ("images", "masks"):
        return None
    above = path.parent.parent.name
    return Path(above if above in ("train", "test") else part, path.parent.name, path.name)


def _extract(archive: zipfile.ZipFile, targets: dict[zipfile.ZipInfo, Path]) -> None:
    """Write members to their targets in two threads (inflating and writing run outside Python's lock)."""

    def write(item: tuple[zipfile.ZipInfo, Path]) -> None:
        member, path = item
        content = archive.read(member)  # checks the member's checksum; at most its declared size is read
        path.write_bytes(content)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, targets.items()))
