"""Lines that a command prints or a page shows, pasted into a shell."""

import os
import subprocess
import sys
from pathlib import Path

import data.sample
import data.tiles_from_segy
import tgs_predict
import tgs_preprocess
import tgs_train
from tests.helpers.commands import ROOT, run_here

MAINS = {
    "tgs_preprocess.py": tgs_preprocess.main,
    "tgs_train.py": tgs_train.main,
    "tgs_predict.py": tgs_predict.main,
    "-m data.sample": data.sample.main,
    "-m data.tiles_from_segy": data.tiles_from_segy.main,
}


def words(line: str, cwd: Path) -> list[str]:
    """The words of a line as bash makes them."""
    printed = ["bash", "-c", f"printf '%s\\0' {line}"]
    done = subprocess.run(printed, cwd=cwd, capture_output=True, text=True, check=True, timeout=600)
    return done.stdout.split("\0")[:-1]


def paste(line: str, cwd: Path, *, in_processes: bool = False) -> str:
    """Run a line; returns what it prints. A shell takes it apart, our commands then run in this process.

    With `in_processes` the shell runs them, which takes TensorFlow's start each time.
    """
    if in_processes:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(line, shell=True, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    else:
        python, *rest = words(line, cwd)
        assert Path(python).name.startswith("python"), line
        script, arguments = (" ".join(rest[:2]), rest[2:]) if rest[0] == "-m" else (rest[0], rest[1:])
        if rest[0] != "-m":
            assert (cwd / script).resolve() == ROOT / Path(script).name, line
        done = run_here(MAINS[Path(script).name], *arguments, cwd=cwd)
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout
