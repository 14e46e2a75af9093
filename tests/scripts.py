"""Running the four commands as users do: in a process of their own, in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def command(name: str, *args: object, interpreter_flags: tuple[str, ...] = ()) -> list[str]:
    """The command line of a script of this repository, for this very interpreter."""
    return [sys.executable, *interpreter_flags, str(ROOT / name), *map(str, args)]


def run_script(
    name: str,
    *args: object,
    cwd: str | Path,
    env: dict[str, str] | None = None,
    timeout: float = 120,
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
