"""The training step: it learns, follows its schedule, averages weights, and stops at a loss that is not finite."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from common.ring import Ring, SingleProcess
from data.synthetic.tiles import make_tiles
from data.tiles import TileSet
from models.metrics import score
from tests.helpers.commands import ROOT
from training.batches import TrainingBatches
from training.learner import Learner
from training.settings import Settings

SIZE, BATCH = 64, 8


@pytest.fixture(scope="module")
def tiles() -> TileSet:
    """Eight generated tiles, each with a good part of salt."""
    images, masks = make_tiles(np.random.default_rng(1), 90)[:2]
    rich = np.flatnonzero((masks.mean(axis=(1, 2)) > 0.2) & (masks.mean(axis=(1, 2)) < 0.8))[:BATCH]
    return TileSet([str(k) for k in rich], images[rich], masks[rich].astype(np.uint8))


def make_learner(steps: int, ring: Ring | None = None, xla: bool | None = None, **changes) -> Learner:
    flags = {"model": "tiny", "target_size": SIZE, "epochs": 1, "warmup_epochs": 0, "learning_rate": 5e-3}
    settings = Settings(**flags | {"ema_decay": 0.9} | changes)
    return Learner(settings, steps, ring or SingleProcess(), batch_size=BATCH, xla=xla)


@pytest.mark.parametrize("mixed_precision", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_learns_eight_tiles_by_heart(tiles, mixed_precision):
    """From tile through placing, network and back to the tile: a step that mixed any two up could not reach this."""
    steps = 60
    learner = make_learner(steps, augment="none", mixed_precision=mixed_precision)
    (batch,) = TrainingBatches(tiles, batch_size=BATCH, seed=1).epoch(0)
    before = score(tiles.masks, learner.predictor(tiles.images) > 0.5)
    learner.train_epoch([batch] * steps, 0)
    assert before < 0.1
    assert score(tiles.masks, learner.predictor(tiles.images) > 0.5) > 0.6


def test_schedule_and_moving_average_by_hand(tiles):
    learner = make_learner(10, epochs=3, warmup_epochs=1, learning_rate=0.1, ema_decay=0.75)
    assert [float(learner.schedule(k)) for k in (0, 5, 10)] == pytest.approx([0, 0.05, 0.1])  # linear warm-up
    assert float(learner.schedule(20)) == pytest.approx(0.05)  # half of the cosine
    assert float(learner.schedule(30)) == pytest.approx(0, abs=1e-8)

    def value(model: object) -> np.ndarray:
        return model.get_layer("logits").kernel.numpy()

    (batch,) = TrainingBatches(tiles, batch_size=BATCH, seed=1).epoch(0)
    start = value(learner.net)
    assert np.array_equal(start, value(learner.ema))
    learner.step(*batch, tf.constant(0), None)
    learner.step(*batch, tf.constant(26), None)
    # The decay is min(0.75, (1 + step) / (10 + step)): 0.1 at step 0, where the rate is 0; 0.75 from step 26 on.
    assert value(learner.ema) == pytest.approx(0.75 * start + 0.25 * value(learner.net), abs=1e-7)
    assert not np.array_equal(start, value(learner.net))


def test_the_equal_mean_is_that_of_the_weights_after_every_step(tiles):
    """SWA over the last two epochs of three in the last cycle: numpy's mean of what was recorded, statistics too."""
    learner = make_learner(2, target_size=32, epochs=6, cycles=2, swa=0.7, ema_decay=0.75, warmup_epochs=1)
    (batch,) = TrainingBatches(tiles, batch_size=BATCH, seed=1).epoch(0)
    assert learner.schedule.ends == (3, 6)
    recorded = []
    for step in range(12):
        learner.step(*batch, tf.constant(step), None)
        recorded.append([v.numpy() for v in learner.net.variables])
        first = 8 if step >= 8 else step  # 0.7 of three epochs are two; before, the average lags behind the weights
        means = [np.mean(values, axis=0, dtype=np.float64) for values in zip(*recorded[first:], strict=True)]
        same = all(np.allclose(*pair, rtol=1e-5, atol=1e-6) for pair in zip(learner.ema.variables, means, strict=True))
        assert same == (step >= 8)


def test_the_equal_mean_is_of_one_epoch_at_least_and_of_all_at_most(tiles):
    for swa, first in ((0.0, None), (0.01, 8), (0.25, 8), (1.0, 0)):
        assert make_learner(2, epochs=5, swa=swa).step.mean_from == first


def test_a_ring_scales_the_rate_by_its_root():
    ring = SingleProcess()
    ring.size = 4
    assert float(make_learner(10, ring=ring, learning_rate=0.1).schedule(0)) == pytest.approx(0.2)


def test_the_encoder_has_a_share_of_the_rate(tiles):
    """With none of it, a step leaves the encoder's weights as they are and moves all others."""
    learner = make_learner(1, encoder_rate=0.0, target_size=32)
    (batch,) = TrainingBatches(tiles, batch_size=BATCH, seed=1).epoch(0)
    before = [v.numpy() for v in learner.net.trainable_variables]
    learner.train_epoch([batch], 0)
    for variable, value in zip(learner.net.trainable_variables, before, strict=True):
        assert np.array_equal(variable, value) == variable.path.startswith("encoder."), variable.path


def test_lovasz_comes_in_after_a_part_of_the_epochs():
    def shares(**changes) -> list[float | None]:
        return [Settings(epochs=10, **changes).lovasz_share(epoch) for epoch in range(10)]

    assert shares() == [0.0] * 3 + [0.9] * 7
    assert shares(lovasz_start=0.75) == [0.0] * 8 + [0.9] * 2
    assert shares(lovasz_start=0) == [0.9] * 10
    assert shares(use_lovasz=False) == [None] * 10


def test_lovasz_has_its_share_of_the_loss_and_without_one_is_as_if_it_were_not(tiles):
    (batch,) = TrainingBatches(tiles, batch_size=BATCH, seed=1).epoch(0)

    def first_step(share: float | None) -> tuple[float, list[np.ndarray]]:
        learner = make_learner(1, target_size=32)
        loss = learner.train_epoch([batch], 0, share).loss
        return loss, [v.numpy() for v in learner.net.trainable_variables]

    (none, left_out), (zero, at_zero), (mixed, _), (one, _) = map(first_step, (None, 0.0, 0.9, 1.0))
    assert zero == none
    assert all(map(np.array_equal, at_zero, left_out))
    assert abs(one - none) > 0.01
    assert mixed == pytest.approx(0.1 * none + 0.9 * one, rel=1e-5)


@pytest.mark.slow
def test_xla_computes_the_same(tiles):
    """Forward, Lovász, backward, update, moving average and prediction, compiled by XLA and not."""
    (batch,) = TrainingBatches(tiles, batch_size=BATCH, seed=1).epoch(0)
    losses, probabilities = [], []
    for xla in (False, True):
        learner = make_learner(2, xla=xla, learning_rate=1e-3)
        losses.append(learner.train_epoch([batch] * 2, 0, 0.5).loss)
        probabilities.append(learner.predictor(tiles.images))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert np.allclose(*probabilities, atol=0.01)


def test_each_local_rank_takes_one_gpu(monkeypatch):
    visible, grown = [], []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu:0", "gpu:1"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda device, kind: visible.append((device, kind)))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda device, on: grown.append((device, on)))
    for local_rank in (0, 1):
        rank = SingleProcess()
        rank.local_rank = local_rank
        rank.claim_device()
    assert visible == [("gpu:0", "GPU"), ("gpu:1", "GPU")]
    assert grown == [("gpu:0", True), ("gpu:1", True)]


@pytest.mark.slow
def test_augmentation_depends_on_seed_and_step_only(tiles):
    (batch,) = TrainingBatches(tiles, batch_size=BATCH, seed=1).epoch(0)
    losses, start = {}, None
    for seed in (1, 1, 2):
        learner = make_learner(10, learning_rate=1e-9, warmup_epochs=0, epochs=2, seed=seed)
        start = start or learner.net.get_weights()
        learner.net.set_weights(start)
        losses.setdefault(seed, []).append([float(learner.step(*batch, tf.constant(k), None)) for k in (0, 1)])
    assert losses[1][0] == losses[1][1]
    assert losses[1][0] != losses[2][0]
    assert losses[1][0][0] != losses[1][0][1]


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step(tiles, monkeypatch):
    def third_is_nan(*, logits, masks):
        return tf.where(steps_done < 2, 1.0, np.nan) * tf.reduce_mean(logits**2, axis=(1, 2, 3))

    steps_done = tf.Variable(0)
    monkeypatch.setattr("training.step.make_loss", lambda name: third_is_nan)
    learner = make_learner(4)
    (batch,) = TrainingBatches(tiles, batch_size=BATCH, seed=1).epoch(0)

    def batches():
        for k in range(4):
            steps_done.assign(k)
            yield batch

    with pytest.raises(FloatingPointError, match="epoch 1, step 3: the loss is nan"):
        learner.train_epoch(batches(), 0)


EIGHT_PASSES = """
import numpy as np, tensorflow as tf
from common.digests import digest
from common.ring import SingleProcess
from training.learner import Learner
from training.settings import Settings
learner = Learner(Settings(model="efficientnet_lite0+scse+hypercolumn", target_size=96), 1, SingleProcess())
images, masks = (np.random.default_rng(k).integers(0, top, (16, 101, 101), np.uint8) for k, top in ((1, 256), (2, 2)))
start = learner.net.get_weights()
for _ in range(8):
    learner.net.set_weights(start)
    _, gradients = learner.step.gradients(images, masks, tf.constant(0), tf.constant(0.9))
    print(digest(*[gradient.numpy() for gradient in gradients]))
"""


@pytest.mark.slow
def test_one_operation_at_a_time_repeats_to_the_last_bit():
    """At 96 px, where docs/design.md says what several cores do without the variable."""
    environment = os.environ | {"TF_NUM_INTEROP_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", EIGHT_PASSES], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 8
    assert len(set(done.stdout.split())) == 1
