"""File systems that can do less than others, made of this one by a library that is loaded before the system's own."""

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")
NAMES = {name: number for number, name in errno.errorcode.items()} | {"ENOTSUP": errno.ENOTSUP}


def build(folder: Path) -> Path:
    """Compile the stand-in; skips the test without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("g++")
    if not compiler:
        pytest.skip("no gcc or g++ to compile tests/helpers/lacking.c")
    library = folder / "lacking.so"
    subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def environment(library: Path, folder: Path, **operations: str | int) -> dict[str, str]:
    """What lets a process find `folder` on such a file system: operations and errors, as `fsync_folder="EINVAL"`."""
    words = (f"{name}={NAMES.get(error, error)}" for name, error in operations.items())
    return {"LD_PRELOAD": str(library), "LACKING_FOLDER": str(folder.resolve()), "LACKING": " ".join(words)}
