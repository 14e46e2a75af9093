"""Writing files so that nobody ever sees half of one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success flush it to disk and rename it to `path`.

    On an error the temporary file is removed and `path` is what it was; what the system refuses (a full disk,
    a folder in the way) is an InputError. The temporary name ends like `path` does, since Keras chooses a
    format by the ending.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


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
    except ValueError as error:
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
