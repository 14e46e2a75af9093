"""Shell scripts in an environment of their own, with stand-ins for the programs they call."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers.commands import ROOT
from tests.helpers.rings import ENVIRONMENT, TINY


def program(path: Path, body: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return path


def tools(folder: Path, *names: str) -> Path:
    """A folder that holds, as a PATH of its own, nothing but these programs of this machine."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).symlink_to(shutil.which(name))
    return folder


def run(*command, cwd=ROOT, **env) -> subprocess.CompletedProcess:
    """Run with `env` on top of this environment, less what an outer make or ring left in it."""
    base = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("MAKE", "MFLAGS", "OMPI_", "NCCL_", "SLURM_", "HVD_", "GPU", "DEMO_"))
    }
    base = {k: v for k, v in base.items() if k not in ("PYTHON", "ARGS", "LD_LIBRARY_PATH")}
    return subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env=base | {k: str(v) for k, v in env.items()},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def assert_one_error_line(result: subprocess.CompletedProcess, *words: str) -> None:
    assert result.returncode == 2, result
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


RING = ROOT / "train_multi_gpu_ring.sh"
BIN = Path(sys.executable).parent
WHERE = (
    'echo "$RANK of $OMPI_COMM_WORLD_SIZE, $OMPI_COMM_WORLD_LOCAL_RANK of $OMPI_COMM_WORLD_LOCAL_SIZE,'
    ' ${LOGIN:-here}, $NCCL_IB_HCA, $PWD"'
)


def python_with_mpirun(tmp_path: Path) -> Path:
    """An interpreter that says it lives in tmp_path/bin, where mpirun prints what it got and exits 7."""
    program(
        tmp_path / "bin" / "mpirun",
        'printf "%s\\n" "$@"; echo "cwd=$PWD"; echo "LD=${LD_LIBRARY_PATH-unset}"\n'
        'env | grep -E "^(OMPI|NCCL|SLURM)_"; exit 7',
    )
    program(tmp_path / "bin" / "nvidia-smi", "exit 9")  # a machine without GPUs
    return program(tmp_path / "bin" / "python", f'echo "{tmp_path}/bin"')


def rank(tmp_path: Path, body: str) -> Path:
    """An interpreter for a real mpirun, whose ranks run `body`, a shell program, in the place of the training."""
    return program(tmp_path / "python", f'[ "$1" = -c ] && echo "{BIN}" && exit\nRANK=$OMPI_COMM_WORLD_RANK\n{body}')


def completes(workspace: Path, *line: object, **env: object) -> None:
    """Run the line, with the flags of a tiny training, to the end of its two epochs by two processes."""
    flags = (*TINY, "--epochs=2", "--batch_size=4")
    environment = ENVIRONMENT | {"PYTHON": sys.executable, "TGS_HOME": str(ROOT)} | {k: str(v) for k, v in env.items()}
    done = subprocess.run(
        [*map(str, line), *flags], cwd=workspace, env=environment, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 x 4 tiles" in done.stdout
    assert done.stdout.count("epoch 2/2: loss") == 1
    assert (workspace / "weights/tiny/fold_0_last.weights.h5").is_file()
