"""The tests' own means to be refused a file, which root otherwise never is."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers.privileges import as_ordinary_user, drop_for_good


def test_permission_bits_count_here_in_threads_and_in_subprocesses(tmp_path):
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0)
    with as_ordinary_user():
        with pytest.raises(PermissionError):
            path.read_text()
        with ThreadPoolExecutor(1) as pool, pytest.raises(PermissionError):
            pool.submit(path.read_text).result()
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError):
            (tmp_path / "new").touch()
        tmp_path.chmod(0o700)
    done = subprocess.run(["cat", path], preexec_fn=drop_for_good, capture_output=True, check=False)
    assert done.returncode != 0
    path.chmod(0o600)
    assert path.read_text() == "x"
