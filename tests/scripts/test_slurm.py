"""Rings as Slurm jobs: train_ring.sbatch.

No cluster is at hand: `sbatch` and `srun` are stand-ins that start on this machine what they are told to start on
another one, the daemon of a real mpirun included.
"""

import os
import platform
import re
import signal
import subprocess

import pytest

from tests.helpers.commands import ROOT
from tests.helpers.rings import ENVIRONMENT, horovod
from tests.helpers.shell import WHERE, assert_one_error_line, completes, program, python_with_mpirun, rank, run

BATCH = ROOT / "train_ring.sbatch"


@pytest.fixture
def slurm(tmp_path):
    """A PATH with stand-ins: `sbatch` runs a copy of the file at once, with the variables that Slurm's manual names,
    on this machine and "node2"; `srun` starts its program here, once for each node that it is told."""
    nodes = f"{platform.node()},node2"
    program(
        tmp_path / "slurm/sbatch",
        f"""NODES=1 TASKS=1
for option in "$@"; do
    case $option in
        --nodes=*) NODES=${{option#*=}} ;;
        --gpus-per-node=*) export SLURM_GPUS_ON_NODE=${{option#*=}} SLURM_GPUS_PER_NODE=${{option#*=}} ;;
        --ntasks-per-node=*) TASKS=${{option#*=}}; export SLURM_NTASKS_PER_NODE=$TASKS ;;
        *) break ;;
    esac
    shift
done
export SLURM_JOB_ID=7 SLURM_JOBID=7 SLURM_JOB_NUM_NODES=$NODES SLURM_NNODES=$NODES SLURM_SUBMIT_DIR=$PWD
export SLURM_TASKS_PER_NODE="$TASKS(x$NODES)" SLURM_JOB_NODELIST={nodes} SLURM_NODELIST={nodes}
cp "$1" "{tmp_path}/slurm/slurm_script"
shift
exec bash "{tmp_path}/slurm/slurm_script" "$@" """,
    )
    program(
        tmp_path / "slurm/srun",
        f"""echo "$* SLURM_WHOLE=$SLURM_WHOLE" >>"{tmp_path}/srun"
for option in "$@"; do
    case $option in
        --nodelist=*) NODES=${{option#*=}} ;;
        --*) ;;
        *) break ;;
    esac
    shift
done
IFS=, read -ra nodes <<<"$NODES"
for ((k = 0; k < ${{#nodes[@]}}; k++)); do
    LOGIN=${{nodes[k]}} SLURM_NODEID=$k "$@" &
done
wait""",
    )
    return f"{tmp_path}/slurm{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("asked", "ring"),
    [
        (("--nodes=2", "--gpus-per-node=4"), (2, 4)),
        (("--gpus-per-node=2",), (1, 2)),
        (("--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=4"), (2, 2)),
        (("--nodes=2", "--ntasks-per-node=1"), (2, 1)),
        (("--nodes=2",), (2, 1)),
    ],
)
def test_a_slurm_job_is_one_process_per_gpu(tmp_path, slurm, asked, ring):
    nodes, each = ring
    python = python_with_mpirun(tmp_path)
    program(tmp_path / "bin" / "nvidia-smi", 'echo "GPU 0: NVIDIA A100"')  # of the first node, no reason to warn
    settings = {"PYTHON": python, "PATH": slurm, "TGS_HOME": ROOT, "SLURM_GPUS_PER_TASK": 1}
    result = run("sbatch", *asked, BATCH, "--model=tiny", cwd=tmp_path, **settings)
    first, *words = result.stdout.splitlines()
    assert first.startswith(f"ring of {nodes * each}: {each} on each of ")
    assert words[:2] == ["-np", str(nodes * each)]
    expected = {"--model=tiny", f"cwd={tmp_path}", f"SLURM_TASKS_PER_NODE={each}(x{nodes})", "SLURM_WHOLE=1"}
    assert expected <= set(words)
    assert "SLURM_GPUS_PER_TASK=1" not in words
    assert (result.returncode, result.stderr) == (7, "")


def test_the_batch_file_asks_slurm_for_a_signal_before_the_end():
    asked = re.findall(r"^#SBATCH (.*)", BATCH.read_text(), re.M)
    assert {"--signal=B:TERM@60", "--requeue", "--open-mode=append"} <= set(asked)
    before_the_first_command = BATCH.read_text().split("\nset -euo")[0]
    assert before_the_first_command.count("\n#SBATCH ") == len(asked)  # Slurm reads no further


def test_the_batch_file_outside_of_slurm_and_outside_of_the_toolkit(tmp_path, slurm):
    assert_one_error_line(run(BATCH), "sbatch --nodes=2 --gpus-per-node=4")
    assert_one_error_line(run("sbatch", BATCH, cwd=tmp_path, PATH=slurm), f"no {tmp_path}/train_multi", "TGS_HOME")


@horovod
def test_slurms_signal_to_the_batch_shell_reaches_the_ranks(tmp_path, slurm):
    # A file, not a line: once it ends, mpirun passes on not all that ranks still say. Nor does bash's `wait` hear each
    # signal that comes just before it.
    body = 'trap "touch saved.$RANK; exit 143" TERM; echo up; until false; do sleep 0.05; done'
    patience = {"OMPI_MCA_odls_base_sigkill_timeout": "5"}  # seconds until mpirun kills what SIGTERM has not ended
    env = ENVIRONMENT | patience | {"PYTHON": str(rank(tmp_path, body)), "PATH": slurm, "TGS_HOME": str(ROOT)}
    line = ["sbatch", "--ntasks-per-node=2", str(BATCH)]
    with subprocess.Popen(line, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE) as job:
        up = 0
        while up < 2:
            up += next(job.stdout).strip() == "up"
        job.send_signal(signal.SIGTERM)
        job.stdout.read()
    assert job.returncode == 143
    assert {file.name for file in tmp_path.glob("saved.*")} == {"saved.0", "saved.1"}


@horovod
def test_mpirun_starts_its_daemons_with_srun(tmp_path, slurm):
    settings = {"PYTHON": rank(tmp_path, WHERE), "PATH": slurm, "TGS_HOME": ROOT}
    result = run("sbatch", "--nodes=2", "--gpus-per-node=2", BATCH, cwd=tmp_path, **settings)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == [
        f"0 of 4, 0 of 2, here, , {tmp_path}",
        f"1 of 4, 1 of 2, here, , {tmp_path}",
        f"2 of 4, 0 of 2, node2, , {tmp_path}",
        f"3 of 4, 1 of 2, node2, , {tmp_path}",
        f"ring of 4: 2 on each of {platform.node()},node2",
    ]
    (started,) = (tmp_path / "srun").read_text().splitlines()
    assert {"--nodelist=node2", "--ntasks-per-node=1", "orted", "SLURM_WHOLE=1"} <= set(started.split())


@horovod
@pytest.mark.slow
def test_a_slurm_job_trains_on_two_nodes(workspace, slurm):
    completes(workspace, "sbatch", "--nodes=2", BATCH, PATH=slurm)


def test_the_toolkits_folder_may_lie_in_the_home(tmp_path):
    """As of `sbatch --export=ALL,TGS_HOME=~/tgs`, where no shell expands it."""
    done = run(ROOT / "train_ring.sbatch", SLURM_JOB_NODELIST="one", TGS_HOME="~/tgs", HOME=tmp_path)
    assert_one_error_line(done, f"error: no {tmp_path}/tgs/train_multi_gpu_ring.sh: ")
