"""Standard streams that are closed, full or gone: a training goes on and says so in its log, a list ends quietly."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import ROOT, command

FLAGS = ("--data_path=folds/fold_0", "--model=tiny", "--target_size=32", "--batch_size=8", "--epochs=2")
LOG = "logs/tiny/fold_0/messages.log"


def shell(line: str, cwd: Path, *flags: str, name: str = "tgs_train.py") -> subprocess.CompletedProcess[str]:
    """Run `line` in bash, in which `RUN` stands for a command; its exit code is that of the command."""
    run = " ".join(command(name, *flags))
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line.replace('RUN', run)}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def finished(folder: Path) -> bool:
    """Whether both epochs are on disk."""
    history = folder / "logs/tiny/fold_0/history.csv"
    return history.is_file() and len(history.read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_training_whose_reader_leaves_goes_on_and_says_the_rest_in_its_log(workspace):
    done = shell("RUN | head -1", workspace, *FLAGS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert finished(workspace)
    log = (workspace / LOG).read_text().splitlines()
    assert log[0] == "standard output can no longer be written to (Broken pipe); what it would say follows"
    assert any(line.startswith("next: ") for line in log)
    assert any(line.startswith("fold_0 epoch 2/2: loss ") for line in log)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "why"),
    [("RUN > /dev/full", "No space left on device"), ("RUN >&- 2>&- <&-", "Bad file descriptor")],
)
def test_a_training_that_cannot_say_anything(workspace, line, why):
    done = shell(line, workspace, *FLAGS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert finished(workspace)
    log = (workspace / LOG).read_text()
    assert f"standard output can no longer be written to ({why})" in log
    assert "fold_0 epoch 1/2: loss " in log


@pytest.mark.slow
def test_a_training_whose_terminal_is_closed(workspace):
    """As a disowned job: it is sent no signal, and finds its terminal gone, while a bar is drawn, too."""
    ours, theirs = pty.openpty()
    line = command("tgs_train.py", *FLAGS)
    with subprocess.Popen(
        line, cwd=workspace, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as job:
        os.close(theirs)
        assert os.read(ours, 1)  # it has begun to speak
        os.close(ours)
    assert job.returncode == 0
    assert finished(workspace)
    log = (workspace / LOG).read_text()
    assert "can no longer be written to (Input/output error)" in log
    assert "\r" not in log
    assert "next: " in log


def test_what_is_readable_leaves_no_log(workspace, trained):
    assert not list((trained / "logs").rglob("messages.log"))


@pytest.mark.parametrize("flag", ["--help", "--loss=list"])
def test_lists_end_quietly_when_nobody_reads_on(tmp_path, flag):
    done = shell("RUN | true", tmp_path, flag)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("RUN > /dev/full", "error: cannot write to standard output: No space left on device\n"),
        ("RUN >&-", "error: cannot write to standard output: Bad file descriptor\n"),
        ("RUN > /dev/full 2>&1", ""),
    ],
)
def test_a_list_that_cannot_be_written_is_an_error(tmp_path, line, said):
    done = shell(line, tmp_path, "--help")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_an_error_that_cannot_be_said_keeps_its_exit_code(tmp_path):
    for line in ("RUN 2>&-", "RUN 2> /dev/full"):
        done = shell(line, tmp_path, "--hlp")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_folds_are_written_though_nobody_reads_of_them(workspace, sample):
    done = shell("RUN | true", workspace, f"--data_path={sample}", "--folds_path=new", name="tgs_preprocess.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert (workspace / "new/samples.png").is_file()


def test_files_never_take_the_number_of_a_closed_stream(tmp_path):
    """What compiled code writes to "stderr" would else end up in weights."""
    program = (
        f"import os, sys; sys.path.append({str(ROOT)!r}); from common import run\n"
        "def main():\n"
        "    with open('data', 'wb') as file:\n"
        "        os.write(2, b'a complaint')\n"
        "run(main)"
    )
    line = f'exec {sys.executable} -c "$0" <&- >&- 2>&-'
    assert subprocess.run(["bash", "-c", line, program], cwd=tmp_path, check=False).returncode == 2  # stdout is closed
    assert (tmp_path / "data").read_bytes() == b""


def test_a_pipe_that_was_made_non_blocking_is_waited_for(tmp_path):
    program = f"import sys; sys.path.append({str(ROOT)!r}); from common import run; run(lambda: print('x' * 1_000_000))"
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with subprocess.Popen([sys.executable, "-c", program], stdout=theirs) as job:
        os.close(theirs)
        with open(ours, "rb") as file:
            assert len(file.read()) == 1_000_001
    assert job.returncode == 0
