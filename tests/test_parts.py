"""Parts of a network: names, shapes, hand-computed numbers, no weight without a gradient, and training with them all."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tgs_predict
import tgs_train
from data.augmentation import Augmenter
from data.geometry import Geometry
from data.pipeline import TrainingBatches
from data.sample import make_tiles
from data.tiles import TileSet
from models import PARTS, Part, Predictor, Solo, blocks, encoders, load_model, logits_only, make_model, save_weights
from models.chance import chance
from models.decoder import decode
from models.learner import Learner
from models.losses import bce, make_loss
from models.metrics import score
from models.supervision import COARSE, SALT, loss_of_outputs
from models.unet import MODELS, Architecture, read_name
from tests.scripts import refused, run_here, run_script
from tests.test_train import same

OF_TINY = [name for name, part in PARTS.items() if not part.encoder]
TINY = "+".join(["tiny", *OF_TINY])  # with all the parts it takes
RESNET = "+".join(["resnet18", *PARTS])
SMALL = "small+" + "+".join(PARTS)  # of a ResNet small enough for tests


@pytest.fixture
def small(monkeypatch):
    """A ResNet of four blocks as "small"."""

    def encoder(x, *, pool=True, drop_path=0.0):
        return encoders.resnet(x, (1, 1, 1, 1), pool=pool, drop_path=drop_path)

    monkeypatch.setitem(MODELS, "small", Architecture(encoder, (16, 16, 16, 16, 16)))


@pytest.fixture(scope="module")
def tiles() -> TileSet:
    """Eight generated tiles, six with salt and two without."""
    images, masks = make_tiles(np.random.default_rng(1), 90)[:2]
    coverage = masks.mean(axis=(1, 2))
    chosen = [*np.flatnonzero((coverage > 0.2) & (coverage < 0.8))[:6], *np.flatnonzero(coverage == 0)[:2]]
    return TileSet([str(k) for k in chosen], images[chosen], masks[chosen].astype(np.uint8))


# ---- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet43+scse", "no model 'resnet43'; choose from resnet18, resnet34, tiny"),
        ("tiny+foo", f"--model=tiny+foo: no part 'foo'; choose from {', '.join(OF_TINY)}"),
        ("tiny+", "no part ''"),
        ("resnet18+scse+scsee", f"no part 'scsee'; choose from {', '.join(PARTS)}"),
        ("tiny+nopool", f"tiny takes no part 'nopool'; choose from {', '.join(OF_TINY)}"),
        ("tiny+droppath", "tiny takes no part 'droppath'"),
        ("tiny+scse+scse", "each part once, in the order of the list: tiny+scse"),
        ("tiny+deep+scse", "each part once, in the order of the list: tiny+scse+deep"),
    ],
)
def test_names_that_do_not_go_are_refused(name, said):
    refused(lambda: make_model(name, 64), said)


def test_every_set_of_parts_has_one_name():
    for names in itertools.permutations(["scse", "dropout", "deep"]):
        text = "+".join(["tiny", *names])
        if names == ("scse", "dropout", "deep"):
            assert read_name(text) == (MODELS["tiny"], [PARTS[name] for name in names])
        else:
            refused(lambda text=text: read_name(text), "tiny+scse+dropout+deep")


# ---- shapes and gradients ------------------------------------------------------------------------------------


def check(name: str, *, mixed_precision: bool = False) -> None:
    """Forward and backward at 64 px: shapes, types, and a finite gradient that is not zero for every weight."""
    model = make_model(name, 64, mixed_precision=mixed_precision)
    images = tf.random.stateless_normal((2, 64, 64, 1), (1, 2))
    masks = tf.cast(images > 1, tf.float32)
    with chance(1, tf.constant(0), 2, Solo()), tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = tf.reduce_sum(loss_of_outputs(outputs, masks, bce))
    outputs = tf.nest.flatten(outputs)
    deepest = 16 if "nopool" in name else 32
    count = 1 + (len([s for s in (2, 4, 8, 16) if s < deepest]) + 1) * ("deep" in name)
    assert [tuple(y.shape) for y in outputs] == [(2, 64, 64, 1), (2, 1), *[(2, 64, 64, 1)] * 4][:count]
    assert {y.dtype for y in outputs} == {tf.float32}
    assert {v.dtype for v in model.variables} == {"float32"}
    for weight, gradient in zip(
        model.trainable_variables, tape.gradient(loss, [v.value for v in model.trainable_variables]), strict=True
    ):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient).all(), weight.path
        assert np.any(gradient), weight.path


@pytest.mark.parametrize("name", [*(f"tiny+{part}" for part in OF_TINY), TINY])
def test_on_tiny(name):
    check(name)


@pytest.mark.parametrize("name", [f"small+{part}" for part in PARTS if part not in OF_TINY])
def test_on_a_resnet(small, name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"resnet18+{part}" for part in PARTS), RESNET])
def test_on_resnet18(name):
    check(name)


def test_in_bfloat16(small):
    check(SMALL, mixed_precision=True)


def test_a_plain_name_has_no_part():
    assert len(make_model("tiny", 32).outputs) == 1
    names = {layer.name for layer in make_model("tiny", 32).layers}
    added = {layer.name for layer in make_model(TINY, 32).layers} - names
    assert {name.split(".")[0] for name in added} == {"decoder", "hypercolumn", "dropout", "deep"}
    assert all("scse" in name for name in added if name.startswith("decoder"))


def test_without_max_pool_layer_1_works_at_stride_2():
    with_pool, without = (encoders.resnet(keras.Input((64, 64, 1)), (1, 1, 1, 1), pool=pool) for pool in (True, False))
    assert {stride: f.shape[1:] for stride, f in with_pool.items()} == {
        2: (32, 32, 64), 4: (16, 16, 64), 8: (8, 8, 128), 16: (4, 4, 256), 32: (2, 2, 512)
    }  # fmt: skip
    assert {stride: f.shape[1:] for stride, f in without.items()} == {
        2: (32, 32, 64), 4: (16, 16, 128), 8: (8, 8, 256), 16: (4, 4, 512)
    }  # fmt: skip


@pytest.mark.parametrize("deepest", [4, 8, 16, 32])
def test_the_decoder_begins_at_the_largest_stride(deepest):
    features = {
        stride: keras.Input((64 // stride, 64 // stride, 3)) for stride in (2, 4, 8, 16, 32) if stride <= deepest
    }
    stages = decode(features, (16, 8, 4, 2, 1))
    expected = {16: 16, 8: 8, 4: 4, 2: 2, 1: 1}
    assert {stride: y.shape[1:] for stride, y in stages.items()} == {
        stride: (64 // stride, 64 // stride, filters) for stride, filters in expected.items() if stride < deepest
    }


# ---- by hand -------------------------------------------------------------------------------------------------


def test_scse_by_hand():
    image = keras.Input((2, 2, 2))
    model = keras.Model(image, PARTS["scse"].stage(image, "stage"))
    x = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 0]]], np.float32)  # means 4 and 3
    model.get_layer("stage.scse.squeeze").set_weights([np.array([[[[1], [-1]]]]), np.array([1])])  # 4 - 3 + 1 = 2
    model.get_layer("stage.scse.channel").set_weights([np.array([[[[0.5, -1]]]]), np.array([0, 1])])  # 1 and -1
    model.get_layer("stage.scse.space").set_weights([np.array([[[[1], [2]]]]), np.array([-3])])
    gate = 1 / (1 + np.exp(-np.array([[2, 8], [14, 4]])))  # x0 + 2 x1 - 3
    channel = 1 / (1 + np.exp(-np.array([1, -1])))
    assert model(x[None]).numpy()[0] == pytest.approx(x * channel + x * gate[..., None], rel=1e-5)


def test_hypercolumn_by_hand():
    """A coarse pixel pair 0 and 4, enlarged twice, is 0, 1, 3, 4: pixel centres, the outer ones kept."""
    fine, coarse = keras.Input((2, 4, 1)), keras.Input((1, 2, 1))
    model = keras.Model([fine, coarse], PARTS["hypercolumn"].top(fine, {2: coarse, 1: fine}))
    own = np.arange(8, dtype=np.float32).reshape(1, 2, 4, 1)
    y = model([own, np.array([[[[0], [4]]]], np.float32)]).numpy()[0]
    assert y[..., 1] == pytest.approx(own[0, ..., 0])
    assert y[..., 0] == pytest.approx(np.array([[0, 1, 3, 4]] * 2))


def test_wide_stages_are_reduced_before_they_are_enlarged():
    stages = {4: keras.Input((2, 2, 40)), 2: keras.Input((4, 4, 16)), 1: keras.Input((8, 8, 5))}
    joined = PARTS["hypercolumn"].top(stages[1], stages)
    assert joined.shape == (None, 8, 8, 16 + 16 + 5)
    (conv,) = (layer for layer in keras.Model(list(stages.values()), joined).layers if layer.weights)
    assert conv.name == "hypercolumn.stride4.conv"
    assert conv.kernel.shape == (1, 1, 40, 16)


@pytest.mark.parametrize("factor", [2, 8, 3])
def test_enlargement_is_bilinear(factor):
    x = tf.random.stateless_normal((2, 3, 5, 4), (1, 2))
    size = (3 * factor, 5 * factor)
    results = []
    for enlarge in (blocks.Enlarge(factor), lambda t: tf.image.resize(t, size, "bilinear")):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = enlarge(x)
            total = tf.reduce_sum(y * tf.random.stateless_normal(y.shape, (3, 4)))
        results.append([y.numpy(), tape.gradient(total, x).numpy()])
    for ours, theirs in zip(*results, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    assert blocks.Enlarge(factor).compute_output_shape(x.shape) == y.shape


def squares(*, logits, masks):
    """A loss to compute by hand."""
    return tf.reduce_mean((logits - masks) ** 2, axis=(1, 2, 3))


def planes(*values: float) -> tf.Tensor:
    return tf.constant(values)[:, None, None, None] * tf.ones((1, 2, 2, 1))


def test_loss_of_heads_by_hand():
    masks = np.zeros((2, 2, 2, 1), np.float32)
    masks[0, 0, 1] = 1  # tile 0 has a pixel of salt, tile 1 none
    outputs = [planes(0.0, 2.0), tf.constant([[0.0], [np.log(3.0)]]), planes(0.0, 7.0), planes(2.0, 9.0)]
    coarse = (1 / 4 + (3 * 4 + 1) / 4) / 2  # of tile 0: of zeros, and of twos
    by_hand = [1 / 4 + COARSE * coarse + SALT * np.log(2), 4 + SALT * np.log(4)]  # -log(1/2), -log(1 - 3/4)
    assert loss_of_outputs(outputs, tf.constant(masks), squares).numpy() == pytest.approx(by_hand, rel=1e-5)
    assert (COARSE, SALT) == (0.1, 0.05)


def test_logits_alone_are_charged_as_they_are():
    masks = planes(1.0, 0.0)
    for outputs in (planes(3.0, 1.0), [planes(3.0, 1.0)]):
        assert loss_of_outputs(outputs, masks, squares).numpy() == pytest.approx([4, 1])


@pytest.mark.parametrize("name", ["bce", "bce+dice", "lovasz_symmetric"])
def test_a_batch_without_salt_teaches_no_coarse_head_and_nothing_but_numbers(name):
    outputs = [planes(1.0, -2.0), tf.constant([[1.0], [-1.0]]), planes(3.0, 4.0)]
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = tf.reduce_mean(loss_of_outputs(outputs, tf.zeros((2, 2, 2, 1)), make_loss(name)))
    gradients = [g.numpy() for g in tape.gradient(loss, outputs)]
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() for g in gradients)
    assert [bool(g.any()) for g in gradients] == [True, True, False]


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
    recipe = {"model": SMALL, "target_size": 32, "fold": "fold_0", "folds": 3, "fingerprint": "f" * 16, "epoch": 1}
    save_weights(path, model, recipe | {"score": 0.5, "threshold": 0.5})
    loaded, recipe = load_model(path)
    assert recipe["model"] == SMALL
    for ours, theirs in zip(model.variables, loaded.variables, strict=True):
        assert ours.path == theirs.path
        assert np.array_equal(ours, theirs)


# ---- training ------------------------------------------------------------------------------------------------


def make_learner(model: str, steps: int, batch_size: int = 8, ring: Solo | None = None, **changes) -> Learner:
    flags = {"model": model, "target_size": 64, "steps": steps, "epochs": 1, "ring": ring or Solo()}
    flags |= {"batch_size": batch_size, "warmup_epochs": 0, "learning_rate": 5e-3, "ema_decay": 0.9}
    return Learner(**flags | changes)


@pytest.mark.slow
def test_it_learns_eight_tiles_by_heart(tiles):
    steps = 80
    learner = make_learner(TINY, steps, augment="none")
    (batch,) = TrainingBatches(tiles, batch_size=8, seed=1).epoch(0)
    learner.train_epoch([batch] * steps, 0)
    assert score(tiles.masks, learner.predictor(tiles.images) > 0.5) > 0.6
    placed, masks = Augmenter(Geometry(64), "none")(*batch, tf.zeros((8, 8)))
    salt, *coarse = learner.ema(placed, training=False)[1:]
    assert np.array_equal(salt.numpy().ravel() > 0, masks.numpy().any(axis=(1, 2, 3)))
    assert all(loss < 0.5 for loss in bce(logits=coarse[-1], masks=masks)[:6])


@pytest.mark.slow
@pytest.mark.parametrize("mixed_precision", [False, True])
def test_xla_computes_the_same(small, tiles, mixed_precision):
    (batch,) = TrainingBatches(tiles, batch_size=8, seed=1).epoch(0)
    losses, probabilities = [], []
    for xla in (False, True):
        learner = make_learner(SMALL, 2, xla=xla, learning_rate=1e-3, mixed_precision=mixed_precision)
        losses.append(learner.train_epoch([batch] * 2, 0, 0.5).loss)
        probabilities.append(learner.predictor(tiles.images))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2 if mixed_precision else 1e-3)
    assert np.allclose(*probabilities, atol=0.05 if mixed_precision else 0.01)


def test_two_ranks_of_b_are_one_process_of_2b(small, tiles, monkeypatch):
    """Loss and gradients, without batch normalisation: what is dropped, and the heads' loss, included."""
    for module in (encoders, blocks):
        monkeypatch.setattr(module, "normalise", lambda x, name: x)
    images, masks = tf.constant(tiles.images), tf.constant(tiles.masks)  # six with salt, two without

    def gradients(rank: int, size: int) -> list[np.ndarray]:
        ring, batch = Solo(), 8 // size
        ring.rank, ring.size = rank, size
        mine = slice(rank * batch, (rank + 1) * batch)
        step = make_learner(SMALL, 1, batch, ring, target_size=32)._step
        loss, found = step._compute_gradients(images[mine], masks[mine], tf.constant(3), tf.constant(0.5))
        return [np.array(loss), *(g.numpy() for g in found)]

    one, *two = gradients(0, 1), gradients(0, 2), gradients(1, 2)
    assert not np.allclose(two[0][0], two[1][0])
    for whole, first, second in zip(one, *two, strict=True):
        assert (first + second) / 2 == pytest.approx(whole, rel=1e-3, abs=1e-4 * np.abs(whole).max())


def test_chance_reaches_the_layers_of_a_step(tiles):
    """With the same weights and tiles, unaugmented: another step drops other channels, the same step the same."""
    learner = make_learner("tiny+dropout", 1, augment="none")
    losses = [
        float(learner._step._compute_gradients(tiles.images, tiles.masks, tf.constant(k), None)[0]) for k in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.slow
def test_from_training_to_submission_with_every_part(workspace):
    """A run as users do it, stopped after an epoch and resumed with the same bits; then all that reads its weights."""
    flags = (f"--model={TINY}", "--target_size=32", "--batch_size=8", "--data_path=folds/fold_0")
    first = run_script("tgs_train.py", *flags, "--epochs=2", cwd=workspace)
    assert first.returncode == 0, first.stderr
    assert f"next: python tgs_predict.py --file_name=weights/{TINY}/fold_0_best.weights.h5" in first.stdout
    folder = workspace / "weights" / TINY
    assert json.loads((folder / "fold_0_last.json").read_text())["model"] == TINY
    assert (workspace / "logs" / TINY / "fold_0" / "history.csv").is_file()

    class Stopped(Exception):
        pass

    def stop(*args, **kwargs):
        raise Stopped

    elsewhere = ("--weights_path=w", "--log_dir=l", "--epochs=2")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("models.ring.Solo.end_epoch", stop)
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


def test_a_part_of_ones_own(monkeypatch):
    class Negative(Part):
        """Logits from the negative of the last stage."""

        def top(self, x, stages):
            return keras.layers.Rescaling(-1.0, name="negative")(x)

    monkeypatch.setitem(PARTS, "negative", Negative())
    model = make_model("tiny+negative", 32)
    assert model.get_layer("logits").input.name == model.get_layer("negative").output.name
    assert model.name == "tiny.negative"
