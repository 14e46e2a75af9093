"""Real rings of two and three processes under mpirun on this machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from models import make_model
from tests.helpers.commands import ROOT, command, run_script
from tests.helpers.machine import slowdown
from tests.helpers.rings import ENVIRONMENT, MPIRUN, PROGRAM, TINY, horovod, member, one_line, ranks_of_two, ring
from tests.helpers.training import arrays, same


@horovod
def test_two_ranks_end_alike_and_score_as_one_process_does(workspace):
    """Ranks are bit-identical after training with batch normalisation, and the score they sum is exact."""
    done = ring(2, *PROGRAM, "--hvd=True", *TINY, "--epochs=2", "--batch_size=8", cwd=workspace)
    assert done.returncode == 0, done.stderr
    held = re.findall(r"HELD rank=(\d) size=2 variables=(\w+)", done.stdout)
    assert sorted(rank for rank, _ in held) == ["0", "1"]
    assert held[0][1] == held[1][1]
    assert done.stdout.count("epoch 2/2") == 1  # rank 0 alone prints

    from common.ring.single import SingleProcess
    from data.folds.fold import read_fold
    from models.geometry import Geometry
    from models.predictor import Predictor
    from models.weights import load_model
    from training.validation import validate

    model, recipe = load_model(workspace / "weights/tiny/fold_0_last.weights.h5")
    assert recipe.processes == 2
    alone = validate(Predictor([(model, Geometry(32))]), read_fold(workspace / "folds/fold_0").val, SingleProcess())
    assert recipe.score == alone.score  # of 20 tiles, exactly


@horovod
@pytest.mark.slow
def test_two_ranks_of_b_are_one_process_of_2b(workspace):
    """Without batch normalisation, weights agree within 1e-5, augmentation included.

    By cross-entropy: Lovász goes by the order of pixels' errors, and near the start, where thousands are nearly equal,
    rounding decides it. Adam divides by the gradient's size, and enlarges rounding where there is next to none.
    """
    flags = (*TINY, "--epochs=2", "--without_norm", "--ema_decay=0.5", "--use_lovasz=False")
    rate = 3e-4
    two = ring(
        2, *PROGRAM, "--hvd=True", *flags, "--batch_size=4", f"--learning_rate={rate}",
        "--weights_path=two", cwd=workspace,
    )  # fmt: skip
    assert two.returncode == 0, two.stderr
    one = subprocess.run(
        [sys.executable, *PROGRAM, *flags, "--batch_size=8", f"--learning_rate={rate * 2**0.5}",
         "--weights_path=one"],
        cwd=workspace, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert one.returncode == 0, one.stderr
    a, b = (arrays(workspace / f"{name}/tiny/fold_0_last.weights.h5") for name in ("two", "one"))
    assert a.keys() == b.keys()
    assert max(np.abs(a[name] - b[name]).max() for name in a) < 1e-5

    keras.utils.set_random_seed(1)  # training's own seed: the kernels it started from
    start = [w.numpy() for w in make_model("tiny", 32).trainable_weights if w.path.endswith("kernel")]
    trained = [b[name] for name in b if b[name].ndim == 4]
    moved = [min(np.abs(s - t).max() for t in trained if t.shape == s.shape) for s in start]
    assert np.median(moved) > 5e-4  # fifty times what the two may differ by


@horovod
@pytest.mark.slow
def test_the_launcher_and_three_processes(workspace):
    """./train_multi_gpu_ring.sh 2, then the mpirun line with three processes, which resumes what two began."""
    launch = [str(ROOT / "train_multi_gpu_ring.sh"), "2", *TINY, "--epochs=12", "--batch_size=4"]
    environment = ENVIRONMENT | {"PYTHON": sys.executable}
    with subprocess.Popen(launch, cwd=workspace, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "epoch 1/12" in line:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(600) == 143
    three = ring(
        3, str(ROOT / "tgs_train_ring.py"), "--hvd=True", *TINY, "--epochs=12", "--batch_size=4", cwd=workspace
    )
    assert three.returncode == 0, three.stderr
    assert 1 < int(re.search(r"epochs (\d+) to 12", three.stdout)[1]) <= 12
    assert "3 x 4 tiles" in three.stdout
    assert json.loads((workspace / "weights/tiny/fold_0_last.json").read_text())["processes"] == 3


@horovod
@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "signum", "said"),
    [
        (1, signal.SIGKILL, "process rank 1 with PID"),
        (0, signal.SIGKILL, "process rank 0 with PID"),
        (1, signal.SIGSTOP, "error: rank 1 (process"),
        (0, signal.SIGSTOP, "error: rank 0 (process"),
    ],
)
def test_a_killed_or_frozen_rank_ends_the_job_and_the_rerun_resumes(workspace, rank, signum, said):
    epochs = 12 if signum == signal.SIGKILL else 10000
    line = [*MPIRUN.format(n=2).split(), *command("tgs_train_ring.py", "--hvd=True", *TINY, f"--epochs={epochs}")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, cwd=workspace, env=ENVIRONMENT, text=True, **pipes) as process:
        for text in process.stdout:
            if f"epoch 2/{epochs}" in text:
                break
        os.kill(member(rank, process.pid), signum)
        struck = time.monotonic()
        _, said_by_all = process.communicate(timeout=600)
        assert process.returncode != 0
        assert time.monotonic() - struck < 60 * slowdown()
    assert said in said_by_all
    assert "Traceback" not in said_by_all
    state = json.loads(np.load(workspace / "weights/tiny/fold_0_state/state.npz")["progress"].tobytes())
    assert state["epoch"] >= 2
    if signum == signal.SIGKILL:  # by one rank where there were two
        again = ring(1, str(ROOT / "tgs_train_ring.py"), "--hvd=True", *TINY, f"--epochs={epochs}", cwd=workspace)
        assert again.returncode == 0, again.stderr
        assert f"epochs {state['epoch'] + 1} to 12 of" in again.stdout
        assert "steps of 1 x 16 tiles" in again.stdout


@horovod
def test_other_flags_on_one_rank_are_found_at_the_start(workspace):
    train = (str(ROOT / "tgs_train_ring.py"), "--hvd=True", *TINY, "--batch_size=4")
    line = one_line(ranks_of_two(train, (*train, "--batch_size=8"), workspace))
    assert re.fullmatch(r"error: rank 1 on \S+ has the flag --batch_size 8, rank 0 has 4; make them the same", line)
    assert not (workspace / "weights").exists()


def with_settings(settings: dict[str, str], program: tuple[str, ...]) -> tuple[str, ...]:
    """A program that starts another one with these variables in its environment."""
    start = f"import os, sys; os.execve(sys.executable, [sys.executable, *sys.argv[1:]], os.environ | {settings})"
    return ("-c", start, *program)


@horovod
@pytest.mark.slow
def test_other_settings_on_one_rank_are_found_at_the_start(workspace):
    train = (str(ROOT / "tgs_train_ring.py"), "--hvd=True", *TINY, "--batch_size=4")
    line = one_line(ranks_of_two(train, with_settings({"TF_DETERMINISTIC_OPS": "1"}, train), workspace))
    said = r"error: rank 1 on \S+ has the variable TF_DETERMINISTIC_OPS 1, rank 0 has None; make them the same"
    assert re.fullmatch(said, line)
    assert not (workspace / "weights").exists()


@horovod
@pytest.mark.slow
def test_settings_that_are_overruled_may_differ_between_ranks(workspace):
    """Rank 1 starts itself anew on the way."""
    train = (*PROGRAM, "--hvd=True", *TINY, "--batch_size=8", "--epochs=1")
    others = {"TF_ENABLE_ONEDNN_OPTS": "0", "PYTHONOPTIMIZE": "2", "KERAS_BACKEND": "torch", "TF_XLA_FLAGS": "--no"}
    done = ranks_of_two(train, with_settings(others, train), workspace)
    assert done.returncode == 0, done.stderr
    assert len(set(re.findall(r"HELD rank=\d size=2 variables=(\w+)", done.stdout))) == 1


@horovod
@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("other tile", "has the content of tiles"),
        ("other split", "has the split"),
        ("broken tile", "is truncated"),
        ("no folds", "no fold in other/fold_0"),
        ("other versions", "has the tensorflow 1.0, rank 0 has"),
    ],
)
def test_other_data_on_one_rank_is_found_at_the_start(workspace, change, said):
    """Each machine of a cluster may have a disk of its own."""
    other = workspace / "other"
    if change != "no folds":
        shutil.copytree(workspace / "folds", other)
    tiles = sorted((other / "fold_0/train/images").glob("*.png"))
    program = [str(ROOT / "tgs_train_ring.py")]
    if change == "other tile":
        content = tiles[1].read_bytes()
        tiles[0].unlink()
        tiles[0].write_bytes(content)
    elif change == "broken tile":
        content = tiles[0].read_bytes()
        tiles[0].unlink()
        tiles[0].write_bytes(content[:-20])
    elif change == "other split":
        again = run_script("tgs_preprocess.py", "--data_path=tgs", "--folds_path=other", "--fold=3", "--seed=9",
                           cwd=workspace)  # fmt: skip
        assert again.returncode == 0, again.stderr
    elif change == "other versions":
        program = ["-c", "import sys, tensorflow; tensorflow.__version__ = '1.0'\n"
                   "from functools import partial\nfrom common.command import run\nfrom tgs_train import main\n"
                   "run(partial(main, sys.argv[1:]))"]  # fmt: skip
    flags = [flag.replace("folds/", "other/") for flag in TINY]
    line = one_line(ranks_of_two(
        (str(ROOT / "tgs_train_ring.py"), "--hvd=True", *TINY), (*program, "--hvd=True", *flags), workspace
    ))  # fmt: skip
    assert line.startswith("error: rank 1 on ")
    assert said in line
    assert not (workspace / "weights").exists()


@horovod
@pytest.mark.slow
def test_a_rank_without_memory_says_so_and_ends_the_others(workspace):
    train = (*PROGRAM, "--hvd=True", *TINY, "--batch_size=4", "--epochs=4")
    done = ranks_of_two(train, (*PROGRAM, "--no_memory", *train[2:]), workspace)
    assert done.returncode == 2
    assert re.search(r"error: rank 1 on \S+: out of memory; lower --batch_size", done.stderr)
    assert "Traceback" not in done.stderr
    assert "epoch 1/4" in done.stdout
    assert "epoch 2/4" not in done.stdout
    again = ring(2, *PROGRAM, "--hvd=True", *TINY, "--batch_size=4", "--epochs=4", cwd=workspace)
    assert "epochs 2 to 4" in again.stdout


@horovod
@pytest.mark.slow
def test_wrong_input_in_a_ring_is_one_line_and_exit_code_2(workspace):
    done = ring(2, str(ROOT / "tgs_train_ring.py"), "--hvd=True", *TINY, "--loss=bec", cwd=workspace)
    assert done.returncode == 2
    assert done.stderr.count("error: no loss 'bec'") == 1
    assert "Traceback" not in done.stderr


@horovod
@pytest.mark.slow
def test_what_only_the_chief_finds_is_one_line_too(workspace):
    """A damaged state lies on rank 0's disk alone, as on a cluster."""
    state = workspace / "weights/tiny/fold_0_state/state.npz"
    state.parent.mkdir(parents=True)
    state.write_text("no numbers")
    done = ring(2, str(ROOT / "tgs_train_ring.py"), "--hvd=True", *TINY, cwd=workspace)
    assert done.returncode == 2
    assert done.stderr.count("error: ") == done.stderr.count("state.npz cannot be read") == 1
    assert "Traceback" not in done.stderr
    assert state.read_text() == "no numbers"


@pytest.fixture
def without_horovod(tmp_path) -> dict[str, str]:
    """An environment whose Python finds no Horovod."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['horovod'] = None\n")
    return {"PYTHONPATH": str(tmp_path)}


def test_without_horovod_the_ring_says_what_to_run(workspace, without_horovod):
    done = run_script("tgs_train_ring.py", *TINY, cwd=workspace, env=without_horovod)
    assert done.returncode == 2
    assert "run ./install_horovod.sh" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_without_horovod_one_process_trains_and_a_ring_of_none_is_the_same(workspace, without_horovod):
    flags = (*TINY, "--epochs=1", "--batch_size=8")
    alone = run_script("tgs_train.py", *flags, cwd=workspace, env=without_horovod)
    assert alone.returncode == 0, alone.stderr
    off = run_script(
        "tgs_train_ring.py", *flags, "--hvd=False", "--weights_path=off", cwd=workspace, env=without_horovod
    )
    assert off.returncode == 0, off.stderr
    assert same(workspace / "weights/tiny/fold_0_last.weights.h5", workspace / "off/tiny/fold_0_last.weights.h5")
