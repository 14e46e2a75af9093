"""Running the four commands as users do: in a process of their own, in a folder of their own."""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from common.command import run
from common.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def command(name: str, *args: object, interpreter_flags: tuple[str, ...] = ()) -> list[str]:
    """The command line of a script of this repository, for this very interpreter."""
    return [sys.executable, *interpreter_flags, str(ROOT / name), *map(str, args)]


def run_script(
    name: str,
    *args: object,
    cwd: str | Path,
    env: dict[str, str] | None = None,
    timeout: float = 600,
    interpreter_flags: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a script of this repository in folder `cwd`, with `env` on top of this environment."""
    return subprocess.run(
        command(name, *args, interpreter_flags=interpreter_flags),
        cwd=cwd,
        env=os.environ | (env or {}),
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a run that refused its input, without `error: `; anything else fails the test."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.endswith("\n"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("error: ").removesuffix("\n")


def run_here(main: Callable, *args: object, cwd: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script's `main` in this process as the script itself would: TensorFlow is loaded once for all tests."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run(partial(main, [str(arg) for arg in args]))
        except SystemExit as exit:
            code = exit.code
    return subprocess.CompletedProcess(list(args), code, out.getvalue(), err.getvalue())


def refused(call: Callable[[], object], said: str) -> str:
    """Assert that a call raises InputError with one line that contains `said`; returns the line."""
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def next_command(said: str) -> str:
    """Find the command that a run names for what comes next, as a user pastes it into a shell."""
    return re.search(r"^next: (.+)$", said, re.M)[1]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
