"""Writing files so that nobody ever sees half of one, on file systems that can do less than others, too."""

import contextlib
import errno
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import InputError, reason, refusals

# How a file system says that it lacks an operation (flushing a folder on CIFS, hard links on FAT, locks on some FUSE).
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY}
LONGEST = 120  # characters of a name to which what makes it temporary can still be added: some disks allow 143 bytes
ASIDE = ".old."  # begins the name of a file that is in the way while another is put in its place


@contextmanager
def replacing(path: str | Path, *, exclusive: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which must exist; on success flush it and rename it to `path`.

    A file or a folder may be made there. On an error it is removed and `path` is what it was; what the system refuses
    (a full disk, a folder in the way) is an InputError. The temporary name ends like `path` does, since Keras chooses
    a format by the ending. With `exclusive` a `path` that exists is kept: FileExistsError.
    """
    path = Path(path)
    if not path.name:
        raise InputError(f"cannot write {path}: it is a folder; give a name in it")
    temporary = _temporary(path)
    before, placed = _state(path), False
    try:
        yield temporary
        for part in (*temporary.rglob("*"), temporary):
            _flush(part)
        if exclusive:
            _rename_to_new(temporary, path)
        else:
            _rename_over(temporary, path)
        placed = True
        _flush(path.parent)
    except OSError as error:
        if exclusive and isinstance(error, FileExistsError):
            raise
        if placed:
            rest = "the new file is in its place, but may not outlast a power cut"
        elif not path.parent.is_dir():
            rest = f"there is no folder {path.parent}"
        else:
            rest = "what was there before is whole" if _state(path) == before else "look at what is there now"
        raise InputError(f"cannot write {path}: {reason(error)}; {rest}") from None
    finally:
        with contextlib.suppress(OSError):  # of a folder that has vanished or become read-only
            _remove(temporary)


def _temporary(path: Path) -> Path:
    name = path.name if len(path.name) <= LONGEST else path.name[:20] + path.name[-20:]
    return path.with_name(f".{os.getpid()}.{name}")


def _state(path: Path) -> tuple[int, int, int] | None:
    """Tell by what a file is known to be still the same: inode, size, time; None when there is none."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk, where the file system can say so."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # A folder may be written to and yet not be opened: its names are then flushed when the system likes to.
        if error.errno not in UNSUPPORTED and not (path.is_dir() and error.errno == errno.EACCES):
            raise


def _rename_over(source: Path, target: Path) -> None:
    """Rename in one step, or, where this file system renames over nothing, in two, and say so."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno not in {*UNSUPPORTED, errno.EEXIST, errno.EPERM} or not target.is_file():
            raise
        aside = target.with_name(f"{ASIDE}{target.name}")
        os.rename(target, aside)
        try:
            os.rename(source, target)
        except OSError:
            os.rename(aside, target)
            raise
        aside.unlink()
        warn_once(
            f"{target.parent} is on a file system that cannot rename over a file: one replaced there while a run is "
            f"killed may be left as {ASIDE}NAME, and is put back when its training goes on"
        )


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename, but FileExistsError where there is a `target`: a hard link is the one call that does both at once."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links on this file system
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        os.rename(source, target)


def remove_temporaries(folder: str | Path, name: str = "") -> None:
    """Clear what killed runs left of `replacing` in `folder`, where the file was to have a name that begins so.

    What was half-written goes; a file that was in the way, and is nowhere else, gets its name again.
    """
    for path in Path(folder).glob(f"{ASIDE}{name}*"):
        place = path.with_name(path.name.removeprefix(ASIDE))
        if os.path.lexists(place):
            path.unlink()
        else:
            path.rename(place)
    for path in Path(folder).glob(f".*.{name}*"):
        if re.match(r"\.\d+\.", path.name):
            _remove(path)


def remove_files(folder: Path, pattern: str) -> None:
    """Remove the files in `folder` whose names fit `pattern`, the last by name first; InputError when one stays."""
    for path in sorted(folder.glob(pattern), reverse=True):
        with refusals("remove", path, "remove it, then run this again"):
            path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8) in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Replace `path` by `value` as JSON in one step."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: str | Path) -> dict:
    """Read a JSON object; InputError when it is missing or not one."""
    try:
        with refusals("read", path):
            value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); delete it and make it again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object; delete it and make it again")
    return value


def check_names(names: Iterable[str], folder: Path) -> None:
    """Raise InputError where two of `names` would be one in `folder`, whose disk takes upper and lower case alike."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name and _folds_case(folder):
            raise InputError(f"the disk of {folder} takes '{other}' and '{name}' for the same; rename one")


def _folds_case(folder: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix=".Case-", dir=folder) as probe:
        return os.path.lexists(folder / Path(probe).name.swapcase())


def named(path: str | Path) -> Path:
    """Give the path, or where it really leads if it is `.` or ends in `..`, so that it has a name."""
    path = Path(path)
    return path.resolve() if path.name in ("", "..") else path


def make_folder(path: str | Path) -> Path:
    """Create a folder and its parents; InputError when a file is in the way or it cannot be written."""
    path = Path(path)
    with refusals("create the folder", path, "choose another path"):
        path.mkdir(parents=True, exist_ok=True)
    return path


_warned: set[str] = set()


def warn_once(text: str) -> None:
    """Say on stderr what a user should know of a disk, once."""
    if text not in _warned:
        _warned.add(text)
        print(f"warning: {text}", file=sys.stderr, flush=True)
