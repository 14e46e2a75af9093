"""The launchers of rings: train_multi_gpu_ring.sh and horovodrun; test_slurm.py has the batch file.

No second machine is at hand: `ssh` is a stand-in that starts here what it is told to start there, the daemon of a real
mpirun included.
"""

import os
import re
import shutil
import sys

import pytest

from tests.helpers.commands import ROOT
from tests.helpers.rings import ENVIRONMENT, horovod
from tests.helpers.shell import (
    RING,
    WHERE,
    assert_one_error_line,
    completes,
    program,
    python_with_mpirun,
    rank,
    run,
    tools,
)


@pytest.fixture
def ring_python(tmp_path):
    return python_with_mpirun(tmp_path)


# ---- the line that mpirun gets -----------------------------------------------------------------------------
@pytest.mark.parametrize("n", [(), ("0",), ("-1",), ("two",), ("1.5",), ("2x",), ("",), ("--model=tiny",)])
def test_ring_wants_a_number_of_processes(n):
    assert_one_error_line(run(RING, *n), "usage: train_multi_gpu_ring.sh [--hostfile FILE] N")


def test_ring_calls_mpirun_with_n_and_all_flags_from_the_callers_folder(ring_python, tmp_path):
    result = run(RING, "3", "--model=tiny", "--weights_path=my weights", cwd=tmp_path, PYTHON=ring_python)
    fixed = "-np 3 -bind-to none -map-by slot -x NCCL_DEBUG -x LD_LIBRARY_PATH -x PATH -mca pml ob1 -mca btl ^openib"
    program_and_flags = [str(ring_python), f"{ROOT}/tgs_train_ring.py", "--hvd=True", "--model=tiny"]
    lines = result.stdout.splitlines()
    expected = [*fixed.split(), *program_and_flags, "--weights_path=my weights", f"cwd={tmp_path}", "LD="]
    assert lines[: len(expected)] == expected
    assert ("OMPI_ALLOW_RUN_AS_ROOT=1" in lines) == (os.getuid() == 0)
    assert ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1" in lines) == (os.getuid() == 0)
    assert result.returncode == 7, "mpirun's exit code passes through"


def test_ring_keeps_the_callers_library_path(ring_python):
    assert "LD=/opt/lib" in run(RING, "1", PYTHON=ring_python, LD_LIBRARY_PATH="/opt/lib").stdout.splitlines()


def test_ring_finds_interpreter_and_hosts_in_the_home(ring_python, tmp_path):
    """As of `env PYTHON=~/venv/bin/python`, or of a quoted path: no shell has expanded them."""
    hosts, interpreter = tmp_path / "hosts", ring_python.relative_to(tmp_path)
    hosts.write_text("localhost slots=2\n")
    done = run(RING, "--hostfile", "~/hosts", "2", PYTHON=f"~/{interpreter}", HOME=tmp_path)
    assert f"-hostfile {hosts}" in done.stdout.replace("\n", " "), done.stderr
    assert str(ring_python) in done.stdout.splitlines()


def test_ring_without_mpirun_names_the_installer(ring_python, tmp_path):
    (ring_python.parent / "mpirun").unlink()
    path = tools(tmp_path / "tools", "bash", "dirname", "env")
    assert_one_error_line(run(RING, "2", PYTHON=ring_python, PATH=path), "no mpirun", "./install_horovod.sh")


def test_ring_without_an_interpreter():
    assert_one_error_line(run(RING, "2", PYTHON="/nowhere/python"), "/nowhere/python", "PYTHON")


def test_a_host_file_and_networks_and_what_the_other_machines_must_know(ring_python, tmp_path):
    (tmp_path / "hosts").write_text("a slots=2\nb slots=2\n")
    settings = {"NETWORK_INTERFACES": "eth0,ib0", "NCCL_IB_HCA": "mlx5", "OMPI_MCA_pml": "ucx"}
    got = run(RING, "--hostfile", "hosts", "4", "--model=tiny", cwd=tmp_path, PYTHON=ring_python, **settings).stdout
    words = " ".join(got.splitlines())
    assert words.startswith("-np 4 -hostfile hosts -bind-to none -map-by slot ")
    assert "-mca btl_tcp_if_include eth0,ib0 -mca oob_tcp_if_include eth0,ib0" in words
    assert "-x NCCL_DEBUG -x NCCL_IB_HCA -x NCCL_SOCKET_IFNAME " in words
    assert "-mca pml ucx -mca btl ^openib" in words
    assert "NCCL_SOCKET_IFNAME==eth0,ib0" in got.splitlines()
    assert "OMPI_MCA_rmaps_base_oversubscribe" not in got  # no more processes than the file has slots


@pytest.mark.parametrize("file", ["", "absent", "."])
def test_a_host_file_that_is_none(file, tmp_path):
    assert_one_error_line(run(RING, "--hostfile", file, "4", cwd=tmp_path), f"--hostfile '{file}': no such file")


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ((), "WARN"),
        (("--verbose",), "INFO"),
        (("--Verbose=YES",), "INFO"),
        (("--verbose=1", "--verbose=False"), "WARN"),
    ],
)
def test_nccl_says_more_when_verbose(ring_python, flags, level):
    assert f"NCCL_DEBUG={level}" in run(RING, "2", *flags, PYTHON=ring_python).stdout.splitlines()
    assert "NCCL_DEBUG=TRACE" in run(RING, "2", *flags, PYTHON=ring_python, NCCL_DEBUG="TRACE").stdout


@pytest.mark.parametrize(("n", "warned"), [(2, False), (3, True)])
def test_more_processes_than_gpus(ring_python, tmp_path, n, warned):
    listed = 'echo "GPU 0: NVIDIA A100"; echo "  MIG 1g.5gb Device 0"; echo "GPU 1: NVIDIA A100"'
    program(tmp_path / "bin" / "nvidia-smi", listed)
    result = run(RING, n, PYTHON=ring_python)
    assert result.stderr == (
        f"warning: {n} processes for this machine's 2 GPU(s): they share, which is slower\n" * warned
    )
    assert result.returncode == 7
    (tmp_path / "hosts").write_text(f"a slots={n}\n")
    assert run(RING, "--hostfile", tmp_path / "hosts", n, PYTHON=ring_python).stderr == ""


# ---- what of stderr is shown -------------------------------------------------------------------------------
RULE = "-" * 74
REFUSED = f"{RULE}\nPrimary job  terminated normally, but 1 process returned\na non-zero exit code.\n{RULE}\n"
EXITED = f"{RULE}\nmpirun detected that one or more processes exited with non-zero status, thus causing\n  2\n{RULE}\n"
KILLED = f"{RULE}\nmpirun noticed that process rank 1 with PID 7 on node a exited on signal 9 (Killed).\n{RULE}\n"
NOISE = "I0000 00:00:1.2 1 port.cc:153] oneDNN custom operations are on.\n"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (f"error: no loss\n{REFUSED}{EXITED}", "error: no loss\n"),
        (f"{REFUSED}{EXITED}error: no loss\n", "error: no loss\n"),
        (f"{REFUSED}{EXITED}", f"{REFUSED}{EXITED}"),
        (f"error: another rank has ended\n{REFUSED}{KILLED}", f"error: another rank has ended\n{KILLED}"),
        (f"{KILLED}{REFUSED}", f"{KILLED}{REFUSED}"),
        (f"{NOISE}a\n\n  b\\n %s\n{RULE}\nc", f"a\n\n  b\\n %s\n{RULE}\nc\n"),
        ("error: x\n" + REFUSED.removesuffix(f"{RULE}\n"), "error: x\n"),
        (f"a\n{RULE}", f"a\n{RULE}\n"),
    ],
)
def test_mpiruns_report_is_hidden_once_a_rank_has_said_why(ring_python, tmp_path, written, shown):
    (tmp_path / "written").write_text(written)
    program(tmp_path / "bin" / "mpirun", f'cat "{tmp_path}/written" >&2; exit 2')
    result = run(RING, "2", PYTHON=ring_python)
    assert (result.returncode, result.stderr) == (2, shown)
    assert run(RING, "2", "--verbose", PYTHON=ring_python).stderr == written


@horovod
@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ('[ $RANK = 0 ] || sleep 60; echo "error: no loss" >&2; exit 2', 2, r"error: no loss\n"),
        ("[ $RANK = 0 ] || sleep 60; exit 3", 3, r"(?s)-+\nPrimary job .*"),
        # Which of its two reports mpirun writes of a signal is a race; either stays.
        ("[ $RANK = 1 ] || sleep 60; kill -9 $$", 137, r"(?s)-+\n(mpirun noticed .* rank 1 .*signal 9|Primary job).*"),
    ],
)
def test_what_a_real_mpirun_is_heard_to_say(tmp_path, body, code, said):
    result = run(RING, "2", PYTHON=rank(tmp_path, body))
    assert result.returncode == code
    assert re.fullmatch(said, result.stderr), result.stderr


# ---- several machines --------------------------------------------------------------------------------------


@pytest.fixture
def ssh(tmp_path):
    """A stand-in for ssh: a login on "another machine", which is this one, with an environment of its own."""
    return program(
        tmp_path / "ssh",
        "while [[ $1 = -* ]]; do shift; done\nshift\n"
        "export -n $(compgen -e)\ncd /\n"
        "PATH=/usr/bin:/bin HOME=$HOME LOGIN=remote OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
        'exec /bin/sh -c "$*"',
    )


@horovod
def test_a_host_file_starts_ranks_on_each_machine(tmp_path, ssh):
    (tmp_path / "hosts").write_text("localhost slots=1\nother slots=2\n")
    line = (RING, "--hostfile", "hosts")
    settings = {"PYTHON": rank(tmp_path, WHERE), "OMPI_MCA_plm_rsh_agent": ssh, "NCCL_IB_HCA": "mlx5"}
    result = run(*line, "3", cwd=tmp_path, **settings)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == [
        f"0 of 3, 0 of 1, here, mlx5, {tmp_path}",
        f"1 of 3, 0 of 2, remote, mlx5, {tmp_path}",
        f"2 of 3, 1 of 2, remote, mlx5, {tmp_path}",
    ]
    too_many = run(*line, "4", cwd=tmp_path, **settings)
    assert too_many.returncode == 1
    assert "not enough slots" in too_many.stderr


# ---- trainings to their end --------------------------------------------------------------------------------


@horovod
@pytest.mark.slow
def test_a_host_file_trains_on_two_machines(workspace, ssh):
    (workspace / "hosts").write_text("localhost slots=1\nother slots=1\n")
    completes(workspace, RING, "--hostfile", "hosts", 2, OMPI_MCA_plm_rsh_agent=ssh)


@pytest.mark.skipif(shutil.which("horovodrun", path=ENVIRONMENT["PATH"]) is None, reason="no horovodrun")
@pytest.mark.slow
@pytest.mark.parametrize("by", [("--mpi",), ("--gloo",)])
def test_horovodrun_trains(workspace, by):
    hosts = ("-H", "localhost:2")
    if by == ("--gloo",):
        (workspace / "hosts").write_text("localhost slots=2\n")
        hosts = ("-hostfile", "hosts")
    line = ("horovodrun", *by, "-np", "2", *hosts, sys.executable, ROOT / "tgs_train_ring.py", "--hvd=True")
    completes(workspace, *line)
