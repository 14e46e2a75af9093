"""Finding the data in what Kaggle delivers: folders, `train.zip` and `test.zip`, or the whole competition's zip."""

import csv
import filecmp
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
import pandas as pd

from data import rle
from data.errors import InputError
from data.files import make_folder
from data.progress import bar, counted
from data.tiles import TileSet, check_is_file, is_id

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
    elif zips := _packed(root):
        root = _unpack([*zips, *(root / name for name in CSV_NAMES if (root / name).is_file())], UNPACKED)
    train = _train_folder(root)
    if train is None:
        raise InputError(f"no train/images in {root}; unpack Kaggle's train.zip there, or give the zip itself")
    optional = {name: root / name if os.path.lexists(root / name) else None for name in CSV_NAMES}
    test_images = root / "test" / "images"
    return Dataset(
        root=root,
        images=train / "images",
        masks=train / "masks",
        test_images=test_images if test_images.is_dir() else None,
        train_csv=optional["train.csv"],
        depths_csv=optional["depths.csv"],
    )


def unpack_test(path: Path) -> Path:
    """Unpack test.zip, or the whole competition's zip, into `data/tgs`, which is returned.

    Raises:
        InputError: a zip that is damaged, would write outside its target, or holds no tiles to predict.
    """
    return _unpack([path], UNPACKED, labelled=False)


def _train_folder(root: Path) -> Path | None:
    """The folder that holds images/ and masks/ of the labelled tiles, None when there is none."""
    return next((folder for folder in (root / "train", root) if (folder / "images").is_dir()), None)


def _packed(root: Path) -> list[Path]:
    """The zips in `root` to unpack: while it has no labelled tiles, those; in data/tgs also a test.zip added later."""
    zips = {path.name: path for path in sorted(root.glob("*.zip"))}
    named = [zips[name] for name in ("train.zip", "test.zip") if name in zips]
    if _train_folder(root) is None:
        return named if "train.zip" in zips else list(zips.values())
    late = root.resolve() == UNPACKED.resolve() and not (root / "test").exists()
    return [path for path in named if late and path.name == "test.zip"]


def read_csv(path: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV whose header is exactly `columns`, all as text; the first column holds unique ids.

    Returns:
        a table indexed by line of the file.
    Raises:
        InputError: unreadable or malformed file, another header, no row, or an empty, repeated or impossible id.
    """
    try:
        check_is_file(path)
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV of {','.join(columns)} ({error})") from None
    if not rows:
        raise InputError(f"{path} is empty; get the file again")
    (_, header), *rows = rows
    if tuple(header) != columns:
        found = " ".join(",".join(header)[:80].splitlines())
        raise InputError(f"{path} has the columns {found}; expected {','.join(columns)}")
    if not rows:
        raise InputError(f"{path} has a header and no rows")
    seen: set[str] = set()
    for line, row in rows:
        if len(row) != len(columns):
            raise InputError(f"{path} line {line} has {len(row)} values; expected {','.join(columns)}")
        if not row[0]:
            raise InputError(f"{path} line {line}: the {columns[0]} is empty")
        if not is_id(row[0]):
            raise InputError(f"{path} line {line}: {row[0][:80]!a} cannot be an id: a tile's name without folders")
        if row[0] in seen:
            raise InputError(f"{path} line {line} has '{row[0]}' a second time; keep one")
        seen.add(row[0])
    lines, values = zip(*rows, strict=True)
    return pd.DataFrame(list(values), index=list(lines), columns=list(columns), dtype=str)


def read_depths(path: str | Path) -> dict[str, float]:
    """Read depths.csv: id -> depth below the surface in the data's own units (feet, Kaggle says)."""
    table = read_csv(path, ("id", "z"))
    depths = pd.to_numeric(table["z"], errors="coerce")
    for line in depths.index[~np.isfinite(depths)]:
        raise InputError(f"{path} line {line}: the depth '{table['z'][line]}' is not a number")
    return dict(zip(table["id"], depths.tolist(), strict=True))


def check_train_csv(path: str | Path, tiles: TileSet) -> None:
    """Check that every id of train.csv has a tile, and that its mask is the tile's."""
    table = read_csv(path, ("id", "rle_mask"))
    for name in sorted(set(table["id"]) - set(tiles.ids)):
        raise InputError(f"{path} has the id '{name}', for which there is no image; remove the row or add the tile")
    check_masks(path, table, dict(zip(tiles.ids, tiles.masks, strict=True)))


def check_masks(path: str | Path, table: pd.DataFrame, masks: Mapping[str, np.ndarray] = MappingProxyType({})) -> None:
    """Check the rle_mask column of a table read from `path`: decodable and, where `masks` knows the id, this mask."""
    for line, name, text in zip(table.index, table["id"], table["rle_mask"], strict=True):
        try:
            mask = rle.decode(text)
        except ValueError as error:
            raise InputError(f"{path} line {line}, id '{name}': {error}") from None
        if name in masks and not np.array_equal(mask, masks[name]):
            raise InputError(f"{path} line {line}: masks/{name}.png holds another mask; mend one, or remove {path}")


# ---- zips --------------------------------------------------------------------------------------------------------


def _unpack(sources: list[Path], target: Path, *, labelled: bool = True) -> Path:
    """Unpack zips (and copy CSVs) into `target`, part by part: each of train/ and test/ appears whole or not at all.

    What is there already is compared and kept; it may hold more than the zips.
    """
    home = next(folder for folder in (target, *target.parents) if folder.is_dir())  # the disk to stage on
    try:
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=home) as staging:
            parts = _stage(sources, Path(staging), target, labelled)
            make_folder(target)
            for part in parts:
                Path(staging, part).rename(target / part)
    except OSError as error:
        raise InputError(f"cannot unpack into {target}: {error.strerror or error}") from None
    names = ", ".join(str(source) for source in sources)
    print(f"unpacked {names} into {target}/" if parts else f"{target}/ holds all of {names} already")
    return target


def _stage(sources: list[Path], staging: Path, target: Path, labelled: bool) -> list[str]:
    """Unpack and copy into `staging` what `target` lacks; returns the names there, none of which `target` has."""
    tiles = 0
    for source in sources:
        if source.suffix != ".csv":
            tiles += _unpack_zip(source, str(source), staging, target)
        elif not (target / source.name).is_file() or not filecmp.cmp(source, target / source.name, shallow=False):
            shutil.copyfile(source, staging / source.name)
    if not labelled and not any((folder / "test" / "images").is_dir() for folder in (staging, target)):
        raise InputError(f"{sources[0]} holds no tiles to predict; expected test.zip, or test/images/*.png in it")
    if labelled and (not tiles or not (_train_folder(staging) or _train_folder(target))):
        raise InputError(f"{sources[0]} holds no labelled tiles; expected images/*.png and masks/*.png, or train.zip")
    parts = sorted(path.name for path in staging.iterdir())
    for part in parts:
        if os.path.lexists(target / part):
            raise InputError(f"{target / part} exists and differs from the zip's; move it away and run this again")
    return parts


def _unpack_zip(source: Path, name: str, staging: Path, target: Path, depth: int = 2) -> int:
    """Unpack what `target` lacks of the tiles, CSVs and inner train/test zips of one zip into `staging`.

    Other members are left in it. `name` is what messages call it.

    Returns:
        how many tiles the zip holds.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = [member for member in archive.infolist() if not member.filename.endswith("/")]
            _check_members(name, members)
            part = "test" if source.stem.startswith("test") else "train"
            places = {m: place for m in members if (place := _place(_path(m), part)) is not None}
            if len(set(places.values())) < len(places):
                repeated = next(place for place, n in Counter(places.values()).items() if n > 1)
                raise InputError(f"{name} holds {repeated} twice; keep one")
            new = {m: staging / place for m, place in places.items() if not _is_there(m, target / place)}
            for folder in {path.parent for path in new.values()}:
                make_folder(folder)
            _extract(archive, new)
            tiles = sum(place.suffix != ".csv" for place in places.values())
            for member in members if depth > 1 else []:
                if _path(member).name in ("train.zip", "test.zip"):
                    inner = staging / _path(member).name
                    with archive.open(member) as packed, open(inner, "wb") as file:
                        shutil.copyfileobj(packed, file)
                    tiles += _unpack_zip(inner, f"{inner.name} in {name}", staging, target, depth - 1)
                    inner.unlink()
            return tiles
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:  # Runtime: encrypted, unknown
        raise InputError(f"{name} cannot be unpacked ({error}); get the zip again") from None
    except OSError as error:
        raise InputError(f"cannot unpack {name}: {error.strerror or error}") from None


def _path(member: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(member.filename.replace("\\", "/"))  # some programs on Windows write backslashes


def _check_members(name: str, members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        path = _path(member)
        if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
            raise InputError(
                f"{name} holds '{member.filename}', which would leave the target folder; do not use this zip"
            )
        if path.suffix.lower() == ".png" and not is_id(path.name):
            raise InputError(f"{name} holds {member.filename!a}, which cannot be an id; rename it")
        if member.flag_bits & 1:
            raise InputError(f"{name} holds '{member.filename}' encrypted; pack it without a password")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{name} holds the link '{member.filename}'; pack the file itself")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others take what memory they want
            raise InputError(f"{name} holds '{member.filename}', which is not deflated; pack it as usual")
        if path.suffix.lower() in (".png", ".csv") and member.file_size > MAX_FILE:
            raise InputError(f"{name} holds '{member.filename}' of {member.file_size >> 20} MiB; do not use this zip")
    if sum(member.file_size for member in members) > MAX_TOTAL:
        raise InputError(f"{name} would unpack to more than {MAX_TOTAL >> 30} GiB; do not use this zip")


def _place(path: PurePosixPath, part: str) -> Path | None:
    """Where a member belongs under the target: [train/|test/]images|masks/x.png or a known CSV; None = not ours."""
    if path.name in CSV_NAMES:
        return Path(path.name)
    if path.suffix.lower() != ".png" or path.parent.name not in ("images", "masks"):
        return None
    above = path.parent.parent.name
    return Path(above if above in ("train", "test") else part, path.parent.name, f"{path.stem}.png")


def _is_there(member: zipfile.ZipInfo, path: Path) -> bool:
    """Whether the file `path` has the member's size and checksum."""
    same_size = path.is_file() and path.stat().st_size == member.file_size
    return same_size and zlib.crc32(path.read_bytes()) == member.CRC


def _extract(archive: zipfile.ZipFile, targets: dict[zipfile.ZipInfo, Path]) -> None:
    """Write members to their targets, checksums verified; threads would only wait for each other at files so small."""
    with bar("unpack", len(targets), "file") as shown:
        for member, path in counted(targets.items(), shown):
            path.write_bytes(archive.read(member))  # reads its declared size at most
