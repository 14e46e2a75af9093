"""Finding the data in what Kaggle delivers: folders, `train.zip` and `test.zip`, or the whole competition's zip."""

import filecmp
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

from common.errors import InputError, refusals
from common.files import check_names, make_folder
from common.progress import bar, counted
from data.tiles import is_id

UNPACKED = Path("data/tgs")  # where zips are unpacked, under the current folder
CSV_NAMES = ("train.csv", "depths.csv", "sample_submission.csv")
MAX_FILE, MAX_TOTAL = 64 << 20, 2 << 30  # bytes; a tile has 10 kB and the competition 0.4 GB: more is a zip bomb


def train_folder(root: Path) -> Path | None:
    """Find the folder that holds images/ and masks/ of the labelled tiles, None when there is none."""
    return next((folder for folder in (root / "train", root) if (folder / "images").is_dir()), None)


# ---- zips --------------------------------------------------------------------------------------------------------


def unpack(sources: list[Path], target: Path, *, labelled: bool = True) -> Path:
    """Unpack zips (and copy CSVs) into `target`, part by part: each of train/ and test/ appears whole or not at all.

    What is there already is compared and kept; it may hold more than the zips.
    """
    home = next(folder for folder in (target, *target.parents) if folder.is_dir())  # the disk to stage on
    with (
        refusals("unpack into", target),
        tempfile.TemporaryDirectory(prefix=".unpack-", dir=home) as staging,
    ):
        parts = _stage(sources, Path(staging), target, labelled)
        make_folder(target)
        for part in parts:
            Path(staging, part).rename(target / part)
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
    if labelled and (not tiles or not (train_folder(staging) or train_folder(target))):
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
        with refusals("unpack", name), zipfile.ZipFile(source) as archive:
            members = [member for member in archive.infolist() if not member.filename.endswith("/")]
            _check_members(name, members)
            part = "test" if source.stem.startswith("test") else "train"
            places = {m: place for m in members if (place := _place(_path(m), part)) is not None}
            if len(set(places.values())) < len(places):
                repeated = next(place for place, n in Counter(places.values()).items() if n > 1)
                raise InputError(f"{name} holds {repeated} twice; keep one")
            check_names(map(str, places.values()), staging)
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
    """Tell a member's place under the target: [train/|test/]images|masks/x.png or a known CSV; None: not ours."""
    if path.name in CSV_NAMES:
        return Path(path.name)
    if path.suffix.lower() != ".png" or path.parent.name not in ("images", "masks"):
        return None
    above = path.parent.parent.name
    return Path(above if above in ("train", "test") else part, path.parent.name, f"{path.stem}.png")


def _is_there(member: zipfile.ZipInfo, path: Path) -> bool:
    """Tell whether the file `path` has the member's size and checksum."""
    same_size = path.is_file() and path.stat().st_size == member.file_size
    return same_size and zlib.crc32(path.read_bytes()) == member.CRC


def _extract(archive: zipfile.ZipFile, targets: dict[zipfile.ZipInfo, Path]) -> None:
    """Write members to their targets, checksums verified; threads would only wait for each other at files so small."""
    with bar("unpack", len(targets), "file") as shown:
        for member, path in counted(targets.items(), shown):
            path.write_bytes(archive.read(member))  # reads its declared size at most
