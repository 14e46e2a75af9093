"""What lies in a user's home, current folder and environment changes neither bits nor texts, or is refused."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import tgs_predict
from tests.helpers.commands import ROOT, command, error_line, run_here, run_script

KERAS = '{"floatx": "float16", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first"}'
MATPLOTLIB = "text.usetex: True\nfont.size: 30\nlines.linewidth: 9\nbackend: no_such\naxes.grid: perhaps\n"
SETTINGS = {
    "HOROVOD_RANK": "first",
    "KERAS_BACKEND": "torch",
    "KERAS_MAX_EPOCHS": "some",
    "KERAS_NNX_ENABLED": "true",
    "LANGUAGE": "de",
    "LC_ALL": "C",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ONEDNN_VERBOSE": "1",
    "OPENCV_IO_MAX_IMAGE_PIXELS": "100",
    "OPENCV_LOG_LEVEL": "VERBOSE",
    "OPENCV_TRACE": "1",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
    "PYTHONIOENCODING": "ascii",
    "PYTHONOPTIMIZE": "2",
    "PYTHONUTF8": "0",
    "PYTHONWARNINGS": "error",
    "SCIPY_ARRAY_API": "1",
    "SKLEARN_WARNINGS_AS_ERRORS": "1",
    "TF2_BEHAVIOR": "0",
    "TF_CONFIG": "{",
    "TF_CPP_MAX_VLOG_LEVEL": "1",
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_FUNCTION_JIT_COMPILE_DEFAULT": "1",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "TQDM_MININTERVAL": "often",
    "XLA_FLAGS": "--xla_of_another_framework=1",
}


@dataclass(frozen=True)
class Crowded:
    """A project in the middle of a user's settings."""

    folder: Path
    environment: dict[str, str]

    def run(self, name: str, *flags: str) -> str:
        """What a command says on stdout: it says nothing on stderr, and does not fail."""
        line = command(name, *flags)
        done = subprocess.run(
            line, cwd=self.folder, env=self.environment, capture_output=True, timeout=600, check=False
        )
        assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode(errors="replace")
        return done.stdout.decode("utf-8")


@pytest.fixture
def crowded(workspace: Path) -> Crowded:
    """`workspace`, with SETTINGS, a keras.json, and a matplotlibrc in the home and in the current folder."""
    home = workspace / "home"
    for path, text in {
        home / ".keras/keras.json": KERAS,
        home / ".config/matplotlib/matplotlibrc": MATPLOTLIB,
        workspace / "matplotlibrc": MATPLOTLIB,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Crowded(workspace, os.environ | SETTINGS | {"HOME": str(home)})


def test_help_is_the_same_text(crowded):
    plain = run_script("tgs_train.py", "--help", cwd=crowded.folder, env={"PYTHONUTF8": "1"})
    assert "Lovász" in plain.stdout
    assert crowded.run("tgs_train.py", "--help") == plain.stdout


def test_folds_and_their_pictures_are_the_same_bytes(crowded, sample, folds):
    crowded.run("tgs_preprocess.py", f"--data_path={sample}", "--fold=3", "--folds_path=again")
    for name in ("folds.csv", "evenness.csv", "folds.png", "samples.png"):
        assert (crowded.folder / "again" / name).read_bytes() == (folds / name).read_bytes(), name
    assert not list(crowded.folder.glob("*race*"))  # OPENCV_TRACE


@pytest.mark.slow
def test_trainings_and_predictions_are_the_same_bits(crowded, trained):
    """Of one fold; `trained` has all of them, made by the same flags."""
    flags = ("--model=tiny", "--target_size=32", "--batch_size=8", "--epochs=2")
    crowded.run("tgs_train.py", "--data_path=folds/fold_0", *flags)
    for name in (
        "weights/tiny/fold_0_best.weights.h5",
        "weights/tiny/fold_0_curves.png",
        "logs/tiny/fold_0/history.csv",
    ):
        assert (crowded.folder / name).read_bytes() == (trained / name).read_bytes(), name
    weights = ("--file_name=weights/tiny/fold_0_best.weights.h5", "--data_path=tgs")
    crowded.run("tgs_predict.py", *weights)
    done = run_here(tgs_predict.main, *weights, f"--submission_path={crowded.folder}/plain", cwd=trained)
    assert done.returncode == 0, done.stderr
    (made,), (plain,) = ((crowded.folder / name).glob("*.csv") for name in ("submission", "plain"))
    assert made.read_bytes() == plain.read_bytes()
    assert (crowded.folder / "home/.keras/keras.json").read_text() == KERAS


def test_nothing_is_written_into_the_home(workspace):
    home = workspace / "home"
    home.mkdir()
    done = run_script("tgs_train.py", "--model=list", cwd=workspace, env={"HOME": str(home)})
    assert (done.returncode, done.stderr) == (0, "")
    assert list(home.iterdir()) == []


def settled(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python after `settle()`."""
    program = (
        f"import os, sys\nsys.path.append({str(ROOT)!r})\nfrom common.command import run\nrun(lambda: print({code}))"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "given", "left"),
    [
        ("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1", None),
        ("XLA_FLAGS", "--xla_dump_to=x --xla_gpu_cuda_data_dir=/usr/lib/cuda", "--xla_gpu_cuda_data_dir=/usr/lib/cuda"),
        ("GIT_DIR", "/another/.git", None),
        ("TF_DETERMINISTIC_OPS", "1", "1"),
        ("TF_NUM_INTRAOP_THREADS", "1", "1"),
        ("KERAS_HOME", "/shared/keras", "/shared/keras"),
        ("OMP_NUM_THREADS", "1", "1"),
        ("CUDA_VISIBLE_DEVICES", "1", "1"),
        ("HF_HOME", "/shared/hf", "/shared/hf"),
    ],
)
def test_variables_are_overruled_or_honoured_as_the_page_says(tmp_path, name, given, left):
    done = settled(f"os.environ.get({name!r})", tmp_path, **{name: given})
    assert done.stdout == f"{left}\n", done.stderr
    row = next(line for line in (ROOT / "docs/troubleshooting.md").read_text().splitlines() if f"`{name}`" in line)
    assert ("honoured" if left else "overruled") in row


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({"PYTHONOPTIMIZE": "2"}, "sys.flags.optimize", "0"),
        ({"PYTHONWARNINGS": "error"}, "sys.warnoptions", "[]"),
        ({"PYTHONDEVMODE": "1"}, "sys.flags.dev_mode", "False"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, "sys.getfilesystemencoding(), chr(225)", "utf-8 á"),
        ({"PYTHONIOENCODING": "latin-1:strict"}, "sys.stdout.encoding, chr(225)", "utf-8 á"),
    ],
)
def test_python_itself_is_as_it_should_be(tmp_path, environment, code, said):
    done = settled(code, tmp_path, **environment)
    assert (done.returncode, done.stdout) == (0, f"{said}\n"), done.stderr


@pytest.mark.parametrize(
    "name",
    ["keras/__init__.py", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tensorflow.py", "queue.py"))],
)
def test_what_would_be_taken_for_a_package_is_refused(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("raise SystemError('loaded')\n")
    done = run_script("tgs_train.py", "--model=list", cwd=tmp_path, env={"PYTHONPATH": os.pathsep})
    top = tmp_path / name.split("/")[0]
    package = top.name.removesuffix(".py")
    assert error_line(done) == f"{top} would be loaded in the place of Python's {package}; give it another name"
    done = run_script("tgs_train.py", "--model=list", cwd=tmp_path, env={"PYTHONPATH": ""})
    assert (done.returncode, done.stderr) == (0, "")  # the current folder is not looked into


def test_a_folder_of_data_without_code_is_no_package(tmp_path):
    for name in ("keras", "data", "numpy"):
        (tmp_path / name).mkdir()
    assert settled("1", tmp_path).stdout == "1\n"


def test_a_current_folder_that_is_gone(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    line = f"rmdir {folder} && exec {' '.join(command('tgs_train.py', '--model=list'))}"
    done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False)
    assert error_line(done) == "the current folder is gone; change to one that exists"
