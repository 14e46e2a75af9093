"""The system's errors as one line, and digests as they have always been."""

import errno
import hashlib
import os

import numpy as np
import pytest

from common.digests import digest
from common.errors import InputError, reason, refusals
from tests.helpers.commands import refused


def test_what_the_system_refuses_is_one_line(tmp_path):
    def read() -> None:
        with refusals("read", "a.csv", "get it again"):
            (tmp_path / "none").read_bytes()

    assert refused(read, "cannot read a.csv") == "cannot read a.csv: No such file or directory; get it again"


@pytest.mark.parametrize("error", [ValueError("a defect"), InputError("told already"), KeyboardInterrupt()])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, refusals("read", "a.csv"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("a library's own words"), "a library's own words"),
        (OSError("Can't write (file write failed: errno = 28, error message = '...')"), os.strerror(28)),  # HDF5
    ],
)
def test_the_systems_words(error, said):
    assert reason(error) == said


def test_digests_are_sha256_of_all_parts_together(tmp_path):
    (tmp_path / "file").write_bytes(b"\0\1")
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    whole = "Salz ü".encode() + b"\0\1" + array.tobytes() + b"x"
    assert digest("Salz ü", tmp_path / "file", array, memoryview(b"x")) == hashlib.sha256(whole).hexdigest()
    assert digest() == hashlib.sha256().hexdigest()
