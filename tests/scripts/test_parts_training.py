"""Networks with every part they take: training, prediction, files, rings, XLA."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import tgs_predict
import tgs_train
from common.ring import Ring, SingleProcess
from data.synthetic.tiles import make_tiles
from data.tiles import TileSet
from models import Predictor, blocks, load_model, logits_only, make_model, save_weights
from models.encoders import resnet as encoders
from models.geometry import Geometry
from models.losses import bce
from models.metrics import score
from tests.helpers.commands import run_here, run_script
from tests.helpers.training import RECIPE, same
from tests.models.networks import SMALL, TINY, with_small
from training.augment.augmenter import Augmenter
from training.batches import TrainingBatches
from training.learner import Learner
from training.settings import Settings


@pytest.fixture
def small(monkeypatch):
    with_small(monkeypatch)


@pytest.fixture(scope="module")
def tiles() -> TileSet:
    """Eight generated tiles, six with salt and two without."""
    images, masks = make_tiles(np.random.default_rng(1), 90)[:2]
    coverage = masks.mean(axis=(1, 2))
    chosen = [*np.flatnonzero((coverage > 0.2) & (coverage < 0.8))[:6], *np.flatnonzero(coverage == 0)[:2]]
    return TileSet([str(k) for k in chosen], images[chosen], masks[chosen].astype(np.uint8))


# ---- prediction and files ------------------------------------------------------------------------------------


def test_prediction_has_the_logits_only(tiles):
    model = make_model(TINY, 64)
    plain = logits_only(model)
    images = Geometry(64).place(tiles.images)
    assert np.array_equal(plain(images), model(images)[0])
    assert {v.path for v in model.variables} > {v.path for v in plain.variables}
    assert not any("deep" in v.path for v in plain.variables)
    ids = {id(v) for v in model.variables}
    assert all(id(v) in ids for v in plain.variables)  # shared, not copied
    predictor = Predictor([(model, Geometry(64))], batch_size=8)
    by_hand = Geometry(64).to_tile(plain(images))
    assert predictor(tiles.images) == pytest.approx(tf.sigmoid(by_hand).numpy(), abs=1e-5)
    assert logits_only(plain) is plain


def test_files_hold_every_weight_and_the_name(tmp_path, small):
    model = make_model(SMALL, 32)
    for variable in model.variables:
        variable.assign(tf.random.stateless_uniform(variable.shape, (1, len(variable.path))))
    path = tmp_path / SMALL / "fold_0_last.weights.h5"
    path.parent.mkdir()
    save_weights(path, model, replace(RECIPE, model=SMALL))
    loaded, recipe = load_model(path)
    assert recipe.model == SMALL
    for ours, theirs in zip(model.variables, loaded.variables, strict=True):
        assert ours.path == theirs.path
        assert np.array_equal(ours.numpy(), theirs.numpy())


# ---- training ------------------------------------------------------------------------------------------------


def make_learner(
    model: str, steps: int, batch_size: int = 8, ring: Ring | None = None, xla: bool | None = None, **changes
) -> Learner:
    flags = {"model": model, "target_size": 64, "epochs": 1, "warmup_epochs": 0, "learning_rate": 5e-3}
    settings = Settings(**flags | {"ema_decay": 0.9} | changes)
    return Learner(settings, steps, ring or SingleProcess(), batch_size=batch_size, xla=xla)


@pytest.mark.slow
def test_it_learns_eight_tiles_by_heart(tiles):
    steps = 80
    learner = make_learner(TINY, steps, augment="none")
    (batch,) = TrainingBatches(tiles, batch_size=8, seed=1).epoch(0)
    learner.train_epoch([batch] * steps, 0)
    assert score(tiles.masks, learner.predictor(tiles.images) > 0.5) > 0.6
    placed, masks = Augmenter(Geometry(64), "none")(*batch, tf.zeros((8, 8)))
    salt, *coarse = learner.ema(placed, training=False)[1:]
    has_salt = masks.numpy().any(axis=(1, 2, 3))
    assert np.array_equal(salt.numpy().ravel() > 0, has_salt)
    for logits in coarse:
        assert bce(logits=logits, masks=masks).numpy()[has_salt].max() < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("mixed_precision", [False, True])
def test_xla_computes_the_same(small, tiles, mixed_precision):
    """Forward with drops, every head's loss, backward and prediction: what rounding leaves of the gradients' direction.

    In bfloat16 and behind ReLUs single values differ, and how much is the processor's affair: XLA's gradients and
    prediction are as near to those in float32 as the ones without XLA. Of Lovász there is the loss alone: new
    networks' logits are nearly equal, so that rounding decides how errors are sorted, and a fifth of the direction.
    """

    def turned(a, b) -> float:  # 1 - cosine: 0 for one direction
        return 1 - a @ b / np.sqrt((a @ a) * (b @ b))

    batch = tf.constant(tiles.images), tf.constant(tiles.masks)
    kinds = [(False, False), (False, True), (True, True)] if mixed_precision else [(False, False), (True, False)]
    losses, gradients, probabilities = [], [], []
    for xla, mixed in kinds:
        learner = make_learner(SMALL, 2, xla=xla, mixed_precision=mixed)
        loss, found = learner.step.gradients(*batch, tf.constant(3), tf.constant(0.5))
        if mixed_precision:
            found = learner.step.gradients(*batch, tf.constant(3), tf.constant(0.0))[1]
        losses.append(float(loss))
        gradients.append(np.concatenate([g.numpy().ravel() for g in found]))
        probabilities.append(learner.predictor(tiles.images))
    assert losses == pytest.approx([losses[0]] * len(kinds), rel=1e-2 if mixed_precision else 1e-4)
    *without, compiled = (turned(found, gradients[0]) for found in gradients[1:])
    print(f"gradients turned by {compiled:.5f} with XLA, {without} without")
    for plain in without:
        assert plain < 0.05
        assert compiled < min(2 * plain, 0.05)
    assert without or compiled < 1e-4
    *without, compiled = (np.abs(found - probabilities[0]) for found in probabilities[1:])
    print(f"XLA {compiled.mean():.6f}, at most {compiled.max():.5f}; without {[p.mean() for p in without]}")
    for plain in without:
        assert compiled.mean() < 2 * plain.mean() < 0.02
        assert compiled.max() < 3 * plain.max()
    assert without or (compiled.max() < 1e-4 and compiled.mean() < 1e-5)


@pytest.mark.usefixtures("eager")
def test_two_ranks_of_b_are_one_process_of_2b(small, tiles, monkeypatch):
    """Loss and gradients, without batch normalisation: what is dropped, and the heads' loss, included."""
    for module in (encoders, blocks):
        monkeypatch.setattr(module, "batch_norm", lambda x, name: x)
    images, masks = tf.constant(tiles.images), tf.constant(tiles.masks)  # six with salt, two without

    def gradients(rank: int, size: int) -> list[np.ndarray]:
        ring, batch = SingleProcess(), 8 // size
        ring.rank, ring.size = rank, size
        mine = slice(rank * batch, (rank + 1) * batch)
        step = make_learner(SMALL, 1, batch, ring, target_size=32).step
        loss, found = step.gradients(images[mine], masks[mine], tf.constant(3), tf.constant(0.5))
        return [np.array(loss), *(g.numpy() for g in found)]

    one, *two = gradients(0, 1), gradients(0, 2), gradients(1, 2)
    assert not np.allclose(two[0][0], two[1][0])
    for whole, first, second in zip(one, *two, strict=True):
        assert np.allclose((first + second) / 2, whole, rtol=1e-3, atol=1e-4 * np.abs(whole).max())


@pytest.mark.usefixtures("eager")
def test_chance_reaches_the_layers_of_a_step(tiles):
    """With the same weights and tiles, unaugmented: another step drops other channels, the same step the same."""
    learner = make_learner("tiny+dropout", 1, augment="none")
    losses = [float(learner.step.gradients(tiles.images, tiles.masks, tf.constant(k), None)[0]) for k in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.slow
def test_from_training_to_submission_with_every_part(workspace):
    """A run as users do it, stopped after an epoch and resumed with the same bits; then all that reads its weights."""
    flags = (f"--model={TINY}", "--target_size=32", "--batch_size=8", "--data_path=folds/fold_0")
    first = run_script("tgs_train.py", *flags, "--epochs=2", cwd=workspace)
    assert first.returncode == 0, first.stderr
    assert f"tgs_predict.py --file_name=weights/{TINY}/fold_0_best.weights.h5 " in first.stdout
    folder = workspace / "weights" / TINY
    assert json.loads((folder / "fold_0_last.json").read_text())["model"] == TINY
    assert (workspace / "logs" / TINY / "fold_0" / "history.csv").is_file()

    class Stopped(Exception):
        pass

    def stop(*args, **kwargs):
        raise Stopped

    elsewhere = ("--weights_path=w", "--log_dir=l", "--epochs=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("common.ring.single.SingleProcess.admit_newcomers", stop)
        with pytest.raises(Stopped):
            run_here(tgs_train.main, *flags, *elsewhere, cwd=workspace)
    again = run_here(tgs_train.main, *flags, *elsewhere, cwd=workspace)
    assert "epochs 2 to 2" in again.stdout, again.stderr
    assert same(folder / "fold_0_last.weights.h5", workspace / "w" / TINY / "fold_0_last.weights.h5")

    for job in (
        "--oof=True",
        "--use_folds=True",
        "--use_folds=True --export=salt.onnx",
        "--use_folds=True --export=salt",
    ):
        done = run_here(
            tgs_predict.main, *job.split(), f"--model={TINY}", "--data_path=tgs", "--allow_missing=True", cwd=workspace
        )
        assert done.returncode == 0, done.stderr
    assert len(list((workspace / "submission").glob(f"submission_{TINY}_1_folds_best_*.csv"))) == 1
    listed = run_here(tgs_predict.main, "--model=list", cwd=workspace)
    assert f"  {TINY} best: 1 of 3 folds" in listed.stdout
