"""Writing files so that nobody ever sees half of one, and folders that only one process may write to."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from common.errors import InputError


@contextmanager
def replacing(path: str | Path, *, exclusive: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which must exist; on success flush it and rename it to `path`.

    A file or a folder may be made there. On an error it is removed and `path` is what it was; what the system refuses
    (a full disk, a folder in the way) is an InputError. The temporary name ends like `path` does, since Keras chooses
    a format by the ending. With `exclusive` a `path` that exists is kept: FileExistsError.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        for part in (*temporary.rglob("*"), temporary):
            _flush(part)
        if exclusive:
            _rename_to_new(temporary, path)
        else:
            os.replace(temporary, path)
        _flush(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        rest = "what was there before is whole" if path.parent.is_dir() else f"there is no folder {path.parent}"
        raise InputError(f"cannot write {path}: {_reason(error)}; {rest}") from None
    finally:
        with contextlib.suppress(OSError):  # of a folder that has vanished or become read-only
            _remove(temporary)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename, but FileExistsError where there is a `target`: a hard link is the one call that does both at once."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links on this file system
        if target.exists():
            raise FileExistsError(target) from None
        os.rename(source, target)


def _reason(error: OSError) -> str:
    """The system's words for an error; HDF5 hides them in a long message of its own."""
    hidden = re.search(r"errno = (\d+)", str(error))
    return os.strerror(int(hidden[1])) if hidden else error.strerror or str(error)


def remove_temporaries(folder: str | Path, name: str = "") -> None:
    """Remove what killed runs left of `replacing` in `folder`, where the file was to have a name that begins so."""
    for path in Path(folder).glob(f".*.{name}*"):
        if re.match(r"\.\d+\.", path.name):
            _remove(path)


def remove_files(folder: Path, pattern: str) -> None:
    """Remove the files in `folder` whose names fit `pattern`, the last by name first; InputError when one stays."""
    for path in sorted(folder.glob(pattern), reverse=True):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot remove {path}: {error.strerror}; remove it, then run this again") from None


@contextmanager
def held(folder: str | Path) -> Iterator[None]:
    """Keep `folder` for this process: InputError when another one, here or on a machine that shares it, has it.

    The lock is the system's own (flock) on the file `.lock`, which says who holds it, and ends with the process,
    however that ends: a file that a killed one has left stops nobody.
    """
    path = make_folder(folder) / ".lock"
    with _lock(path) as file:
        try:
            with contextlib.suppress(OSError):  # a full disk is no reason not to hold it
                now = datetime.now()
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()} since {now:%Y-%m-%d %H:%M:%S}\n".encode())
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _lock(path: Path) -> BinaryIO:
    """Open and lock the file `path`, made if need be; InputError when somebody has it."""
    while True:
        try:
            file = open(path, "a+b", buffering=0)  # noqa: SIM115, the caller's
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}; choose another folder") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read().decode(errors="replace").strip() or "another process"
            raise InputError(
                f"{path.parent} is in use by {holder}; wait until that ends, or let this run write elsewhere"
            ) from None
        except OSError:  # this file system has no locks
            pass
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # removed by its holder since it was opened: another process may have made and locked a new one


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
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); delete it and make it again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object; delete it and make it again")
    return value


def make_folder(path: str | Path) -> Path:
    """Create a folder and its parents; InputError when a file is in the way or it cannot be written."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the folder {path}: {error.strerror}; choose another path") from None
    return path
