"""Real rings of processes on this machine: mpirun's line, its environment, its ranks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import ROOT

PROGRAM = ("-m", "tests.helpers.ring_program")  # tgs_train.py, then what the rank holds

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PYTHONPATH": str(ROOT),
}
MPIRUN = (
    "mpirun -np {n} -bind-to none -map-by slot -x NCCL_DEBUG=INFO -x LD_LIBRARY_PATH -x PATH -mca pml ob1 "
    "-mca btl ^openib"
)
TINY = ("--model=tiny", "--target_size=32", "--data_path=folds/fold_0", "--warmup_epochs=1")


horovod = pytest.mark.skipif(
    shutil.which("mpirun", path=ENVIRONMENT["PATH"]) is None, reason="no mpirun; ./install_horovod.sh brings it"
)


def ring(n: int, *program: str, cwd: Path, timeout: float = 600) -> subprocess.CompletedProcess:
    """Run the design's mpirun line with n processes of `program`."""
    line = [*MPIRUN.format(n=n).split(), sys.executable, *program]
    return subprocess.run(line, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, check=False)


def member(rank: int, of: int) -> int:
    """Process id of a rank that the process `of` (mpirun, or its parent) has started."""
    below = [of]
    for process in below:
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            below += map(int, task.read_text().split())
    for process in below:
        environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        named = {b"OMPI_COMM_WORLD_RANK=%d" % rank, b"HOROVOD_RANK=%d" % rank} & set(environment)
        if named and b"tgs_train_ring.py" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"--hvd")[0]:
            found = process  # the last: a shell may stand before it
    return found


def ranks_of_two(first: tuple[str, ...], second: tuple[str, ...], cwd: Path) -> subprocess.CompletedProcess:
    """Run a ring of two ranks with different command lines."""
    line = MPIRUN.format(n=1).split()
    line += [sys.executable, *first, ":", "-np", "1", sys.executable, *second]
    env = ENVIRONMENT | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, timeout=600, check=False)


def one_line(done: subprocess.CompletedProcess) -> str:
    """The one line of ours in what a ring wrote, mpirun's own apart."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line
