"""Thousands of mutated files, each read or refused in one line: no traceback, crash, hang, memory or noise."""

import json
import subprocess
import sys

import pytest

from tests.helpers.commands import ROOT


@pytest.mark.slow
def test_mutated_files_are_read_or_refused(trained, tmp_path):
    """In a process of its own, which a library in C may take down, on whose stderr nothing may be written."""
    program = [sys.executable, "-m", "tests.promises.fuzz", trained, tmp_path]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.stderr == ""
    assert done.returncode == 0
    summary = json.loads(done.stdout)
    print(done.stdout)
    assert sum(kind["files"] for kind in summary.values()) >= 2000
    for name, kind in summary.items():
        assert 0.2 < kind["refused"] / kind["files"] < 1, name  # neither harmless nor shallow
        assert kind["peak_growth_mb"] < 300, name
