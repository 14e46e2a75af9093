"""Digests, by which files and data are known again."""

import hashlib
from pathlib import Path


def digest(*parts: "str | Path | bytes | memoryview") -> str:
    """Compute the SHA-256, 64 hex digits, of parts one after the other.

    Parts are text (as UTF-8), the content of a file (by its Path), or anything in memory: bytes, C-contiguous arrays.
    """
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part.read_bytes() if isinstance(part, Path) else part)
    return found.hexdigest()
