"""The first epochs at smaller sizes: one network in several graphs, its schedule, resumed bit for bit, in a ring."""

import csv
import re
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tgs_predict
import tgs_train
from common.ring import SingleProcess
from data.folds.fold import read_fold
from data.synthetic.tiles import make_tiles
from models.geometry import Geometry
from models.predictor import Predictor
from models.unet import MODELS, make_model, resized
from models.weights import load_model, load_recipe
from tests.helpers.commands import error_line, run_here
from tests.helpers.jobs import FLAGS, after_epochs, assert_same_end, check_files, job
from tests.helpers.rings import ENVIRONMENT, PROGRAM, horovod, ring
from tests.helpers.training import arrays
from tests.models.networks import TINY as EVERY_PART
from training.learner import Learner
from training.schedule import make_schedule
from training.settings import Settings
from training.validation import validate

SMALL_FIRST = ("--target_size=96", "--tile_size=90", "--small_size=32,64", "--small_epochs=3,1", "--epochs=6")


# ---- one network, several graphs ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", [EVERY_PART, "efficientnet_lite0+scse+hypercolumn", "resnet18+nopool", "tiny"])
def test_weights_are_shared_and_know_no_size(name):
    """Resized, a network is what make_model builds at that size, of the same variables in the same order."""
    net = make_model(name, 64)
    small, built = resized(net, 32), make_model(name, 32)
    assert [id(v) for v in small.variables] == [id(v) for v in net.variables]
    assert [id(v) for v in small.trainable_variables] == [id(v) for v in net.trainable_variables]
    assert [(v.path, v.shape) for v in small.variables] == [(v.path, v.shape) for v in built.variables]
    built.set_weights(net.get_weights())
    images = tf.random.stateless_normal((2, 32, 32, 1), (1, 2))
    for ours, theirs in zip(*(tf.nest.flatten(model(images, training=False)) for model in (small, built)), strict=True):
        assert ours.shape == theirs.shape
        assert np.array_equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_encoder_can_be_resized(name):
    net = make_model(name, 64)
    small = resized(net, 32)
    assert [id(v) for v in small.variables] == [id(v) for v in net.variables]
    assert small(tf.zeros((1, 32, 32, 1))).shape == (1, 32, 32, 1)
    keras.backend.clear_session()


def test_small_epochs_compute_what_a_network_of_that_size_does():
    """The first loss, and what is predicted before: of a training small first, and of one that is small throughout."""
    common = {"model": "tiny", "epochs": 3, "seed": 4}
    sizes = {"target_size": 96, "tile_size": 72, "small_size": "32,64", "small_epochs": "1,1"}
    first = Learner(Settings(**sizes, **common), 1, SingleProcess(), batch_size=4)
    images, masks = (values[:4] for values in make_tiles(np.random.default_rng(1), 4)[:2])
    for k, (size, tile) in enumerate(((32, 32), (64, 48), (96, 72))):  # three quarters of each, but 32 at least
        throughout = Learner(Settings(target_size=size, tile_size=tile, **common), 1, SingleProcess(), batch_size=4)
        for epoch in range(3):
            ours, theirs = first.at(epoch), throughout.at(epoch)
            batch = (tf.constant(images), tf.constant(masks.astype(np.uint8)), tf.constant(0), None)
            assert (float(ours.step.gradients(*batch)[0]) == float(theirs.step.gradients(*batch)[0])) == (epoch == k)
            assert np.array_equal(ours.predictor(images), theirs.predictor(images)) == (epoch == k)
    assert (first.at(2).step, first.at(2).predictor) == (first.step, first.predictor)


# ---- schedule ----------------------------------------------------------------------------------------------


def rates(steps: int = 1, **settings) -> list[float]:
    schedule = make_schedule(Settings(**settings), steps, 1)
    return [float(schedule(step)) for step in range(schedule.ends[-1] * steps + 1)]


def test_schedule_by_hand():
    """One cosine over all sizes; cycles that follow begin at half of the peak."""
    common = {"learning_rate": 0.8, "warmup_epochs": 0, "small_epochs": "2"}
    falling = [0.8, 0.2 * (2 + 2**0.5), 0.4, 0.2 * (2 - 2**0.5)]
    assert rates(epochs=4, **common) == pytest.approx([*falling, 0], abs=1e-7)
    growing = common | {"small_epochs": "2,1", "small_size": "64,96"}
    assert rates(epochs=4, **growing) == pytest.approx([*falling, 0], abs=1e-7)
    assert rates(epochs=6, cycles=2, **common) == pytest.approx([*falling, 0.4, 0.2, 0], abs=1e-7)
    warm = common | {"warmup_epochs": 1}
    assert rates(2, epochs=3, **warm) == pytest.approx([0, 0.4, *falling, 0], abs=1e-7)
    # Pretraining ends before, with, and after the small epochs.
    for pretrain, by_hand in {
        1: [0.8, 0.8, 0.6, 0.2, 0],
        2: [0.8, 0.4, 0.4, 0.2, 0],
        3: [0.8, 0.6, 0.2, 0.4, 0],
    }.items():
        assert rates(epochs=4, pretrain_epochs=pretrain, **common) == pytest.approx(by_hand, abs=1e-7)


def test_cycles_are_equal_at_full_size():
    """The first has the small epochs too, but for those that pretrain, whose cycle is not counted."""
    schedule = make_schedule(Settings(epochs=8, small_epochs="3", pretrain_epochs=2, cycles=2), 5, 1)
    assert (schedule.ends, schedule.count) == ((2, 6, 8), 2)
    assert [schedule.number(epoch) for epoch in range(8)] == [0, 0, 1, 1, 1, 1, 2, 2]
    assert [schedule.ended(epochs) for epochs in range(1, 9)] == [None] * 5 + [1, None, 2]
    assert schedule.tail(1.0) == 6 * 5
    assert make_schedule(Settings(epochs=8, small_epochs="3", cycles=2), 5, 1).ends == (6, 8)


def test_time_left_goes_by_pixels():
    settings = Settings(epochs=6, small_epochs="2,1", small_size="64,96", target_size=128)
    assert settings.work(0, 2) == 2 * 64 * 64
    assert settings.work(1, 6) == 64 * 64 + 96 * 96 + 3 * 128 * 128
    assert Settings(epochs=5).work(3, 5) == 2 * 128 * 128


# ---- the command -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(once, sample, folds) -> Path:
    """A project with a training of three epochs at 32 px, one at 64 and two at 96."""

    def train(path: Path) -> None:
        (path / "tgs").symlink_to(sample)
        (path / "folds").symlink_to(folds)
        done = run_here(tgs_train.main, *FLAGS, *SMALL_FIRST, cwd=path)
        assert done.returncode == 0, done.stderr
        (path / "said").write_text(done.stdout)

    return once("small_first", train)


def test_it_says_the_size_and_goes_by_the_schedule(whole):
    lines = [line for line in (whole / "said").read_text().splitlines() if "images/s" in line]
    said = [re.findall(r" \((\d+) px\), val_loss", line) for line in lines]
    assert said == [["32"]] * 3 + [["64"]] + [[]] * 2
    rows = list(csv.DictReader((whole / "logs/tiny/fold_0/history.csv").read_text().splitlines()))
    by_hand = [5e-4 * (1 + np.cos(np.pi * k / 5)) for k in range(6)]  # after the warm-up, an epoch long
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(by_hand)


def test_weights_carry_over_and_predict_at_full_size(whole):
    last = whole / "weights/tiny/fold_0_last.weights.h5"
    model, recipe = load_model(last)
    assert (recipe.target_size, recipe.tile_size, recipe.flags["small_epochs"]) == (96, 90, "3,1")
    assert (model.input_shape[1:3], recipe.geometry) == ((96, 96), Geometry(96, 90))
    val = read_fold(whole / "folds/fold_0").val
    assert validate(Predictor([(model, recipe.geometry)]), val, SingleProcess()).score == recipe.score
    flags = (f"--file_name={last}", "--data_path=tgs", "--submission_path=there")
    done = run_here(tgs_predict.main, *flags, cwd=whole)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--small_epochs=3,3"],
            "--small_epochs=3,3 leave none of --epochs=6 for --target_size=96; give fewer of the first",
        ),
        (["--small_epochs=3"], "--small_epochs=3 and --small_size=32,64 do not pair; give as many of each"),
        (["--small_epochs=3,x"], "argument --small_epochs: 'x' is not a number of type int"),
        (["--small_epochs=3,"], "argument --small_epochs: '' is not a number of type int"),
        (["--small_size=32,48"], "--small_size=48 is not a multiple of 32; take 64"),
        (["--small_size=64,32"], "--small_size=64,32 shrinks; put the least first"),
        (["--small_size=32,96"], "--small_size=32,96 is not below --target_size=96; lower it"),
        (["--tile_size=97"], "--tile_size=97 is above --target_size=96; lower it"),
        (["--small_size=16,64"], "argument --small_size: 16 is outside 32 to 1024"),
        (["--cycles=3"], "--cycles=3 need an epoch each, --epochs=6 are too few after the first 4, which are smaller"),
    ],
)
def test_what_cannot_be_is_one_line(workspace, flags, said):
    assert said in error_line(run_here(tgs_train.main, *FLAGS, *SMALL_FIRST, *flags, cwd=workspace))
    assert not (workspace / "weights").exists()


@pytest.mark.parametrize(
    ("flags", "then", "now"),
    [(["--small_epochs=2,1"], "small_epochs=3,1", "2,1"), (["--target_size=128"], "target_size=96", 128)],
)
def test_other_sizes_do_not_resume(whole, flags, then, now):
    said = error_line(run_here(tgs_train.main, *FLAGS, *SMALL_FIRST, *flags, cwd=whole))
    assert f"was made with --{then}, not {now}" in said


# ---- killed, and in rings ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_at_every_size_it_ends_with_the_same_bits(whole, workspace):
    """SIGKILL in the second epoch's state, between the first two sizes, and in the middle of a later epoch."""
    with job(workspace, *SMALL_FIRST, dies=("SIGKILL", "half", "state.npz", 2)) as running:
        assert running.end()[0] == -signal.SIGKILL
    assert check_files(workspace) == 1
    small = load_recipe(workspace / "weights/tiny/fold_0_last.weights.h5")
    assert (small.geometry, small.epoch) == (Geometry(32, 32), 2)  # they predict as they were validated
    with job(workspace, *SMALL_FIRST, dies=("SIGKILL", "after", "state.npz", 2)) as running:
        assert running.end()[0] == -signal.SIGKILL
    assert check_files(workspace) == 3
    with job(workspace, *SMALL_FIRST) as running:
        after_epochs(running, 1)
        running.until_computed(running.computed() + 0.2)
        running.kill()
    assert 4 <= check_files(workspace) < 6
    done = run_here(tgs_train.main, *FLAGS, *SMALL_FIRST, cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert_same_end(whole, workspace)


@horovod
@pytest.mark.slow
def test_two_ranks_of_b_are_one_process_of_2b(workspace):
    """As tests/common/ring has it for one size: weights agree within 1e-5 without batch normalisation.

    At a third of its rate: the two epochs' rate does not fall to 0 between them, and Adam enlarges what rounding leaves
    of gradients that are next to none.
    """
    flags = ("--model=tiny", "--data_path=folds/fold_0", "--target_size=64", "--small_size=32", "--small_epochs=1")
    flags += ("--epochs=2", "--warmup_epochs=0", "--without_norm", "--ema_decay=0.5", "--use_lovasz=False")
    rate, batch = 1e-4, "--batch_size=4"
    two = ring(2, *PROGRAM, "--hvd=True", *flags, batch, f"--learning_rate={rate}", "--weights_path=two", cwd=workspace)
    assert two.returncode == 0, two.stderr
    held = re.findall(r"HELD rank=(\d) size=2 variables=(\w+)", two.stdout)
    assert held[0][1] == held[1][1]
    line = [sys.executable, *PROGRAM, *flags, "--batch_size=8", f"--learning_rate={rate * 2**0.5}"]
    one = subprocess.run([*line, "--weights_path=one"], cwd=workspace, env=ENVIRONMENT, timeout=600, check=False)
    assert one.returncode == 0
    a, b = (arrays(workspace / f"{name}/tiny/fold_0_last.weights.h5") for name in ("two", "one"))
    assert a.keys() == b.keys()
    assert max(np.abs(a[name] - b[name]).max() for name in a) < 1e-5
