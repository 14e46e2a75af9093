"""Exported predictors: the same masks from onnxruntime and from a SavedModel, where this project is not at hand."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

import tgs_predict
from models import export as module
from models import make_model
from models.export import export_predictor
from models.geometry import Geometry
from models.predictor import Predictor
from models.weights import save_weights
from tests.helpers.commands import names, refused, run_here, run_script
from tests.helpers.disks import files_up_to
from tests.helpers.training import RECIPE

pytestmark = pytest.mark.usefixtures("devices_listed")

RNG = np.random.default_rng(11)
IMAGES = RNG.integers(0, 256, (3, 101, 101), dtype=np.uint8)
NOTE = {"threshold": 0.45, "min_area": 20, "models": [{"model": "tiny", "fold": "fold_0"}], "fingerprint": "f" * 16}


def lively(name: str, size: int) -> tuple[keras.Model, Geometry]:
    """A model none of whose variables is at its neutral start; half of the pixels of IMAGES are salt to it."""
    model, geometry = make_model(name, size), Geometry(size)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean"):
            variable.assign(RNG.normal(0, 0.3, variable.shape))
    logits, last = np.array(model(geometry.place(IMAGES), training=False)), model.get_layer("logits")
    last.kernel.assign(last.kernel / logits.std())
    last.bias.assign((last.bias - np.median(logits)) / logits.std())
    return model, geometry


PREDICTORS: dict[str, Callable[[], Predictor]] = {
    "shrunk": lambda: Predictor([lively("tiny", 32)], batch_size=3),
    "ensemble": lambda: Predictor([lively("tiny", 128), lively("tiny", 32)], shares=[3, 1], batch_size=3),
    "doubled": lambda: Predictor([lively("tiny", 256)], tta=True, batch_size=3),
    "resnets": lambda: Predictor([lively("resnet18", 64), lively("resnet34", 128)], tta=True, batch_size=3),
}
every_predictor = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "shrunk")) for name in PREDICTORS]
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Callable[[str], tuple[Path, np.ndarray]]:
    """Of a name in PREDICTORS: a folder with salt.onnx and the SavedModel salt, and the probabilities of IMAGES."""

    @cache
    def make(name: str) -> tuple[Path, np.ndarray]:
        path, predictor = tmp_path_factory.mktemp(name), PREDICTORS[name]()
        export_predictor(path / "salt.onnx", predictor, NOTE)
        export_predictor(path / "salt", predictor, NOTE)
        return path, predictor(IMAGES)

    return make


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5
    sure = np.abs(expected - 0.5) > 1e-5  # the other pixels may fall to either side by rounding
    assert sure.mean() > 0.99
    assert 0.2 < (expected > 0.5).mean() < 0.8
    assert np.array_equal((found > 0.5)[sure], (expected > 0.5)[sure])


@every_predictor
def test_onnxruntime_gives_the_same_masks(exported, name):
    path, expected = exported(name)
    model = onnx.load(path / "salt.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {(part.domain, part.version) for part in model.opset_import} <= {("", 17), ("ai.onnx.ml", 2)}
    assert {node.domain for node in model.graph.node} == {""}
    session = onnxruntime.InferenceSession(path / "salt.onnx", providers=["CPUExecutionProvider"])
    ((tiles,), (probabilities,)) = session.get_inputs(), session.get_outputs()
    assert (tiles.name, tiles.type, tiles.shape) == ("tiles", "tensor(uint8)", ["batch", 101, 101])
    assert (probabilities.name, probabilities.shape) == ("probabilities", ["batch", 101, 101])
    found = session.get_modelmeta().custom_metadata_map
    assert found.pop("fingerprint") == NOTE["fingerprint"]
    assert {key: json.loads(value) for key, value in found.items()} | {"fingerprint": "f" * 16} == NOTE
    for batch in (slice(0, 3), slice(1, 2)):
        assert_same(session.run(["probabilities"], {"tiles": IMAGES[batch]})[0], expected[batch])


@every_predictor
def test_the_saved_model_gives_the_same_masks(exported, name):
    path, expected = exported(name)
    loaded = tf.saved_model.load(path / "salt")
    assert json.loads((path / "salt/note.json").read_text()) == NOTE
    for batch in (slice(0, 3), slice(1, 2)):
        assert_same(loaded.serve(IMAGES[batch])["probabilities"].numpy(), expected[batch])
        signature = loaded.signatures["serving_default"](tiles=tf.constant(IMAGES[batch]))
        assert_same(signature["probabilities"].numpy(), expected[batch])


ELSEWHERE = """
import sys
import numpy as np
tiles = np.load("tiles.npy")
import onnxruntime
found = onnxruntime.InferenceSession("salt.onnx").run(["probabilities"], {"tiles": tiles})[0]
assert not {"tensorflow", "keras", "models", "data"} & set(sys.modules)
np.save("onnx.npy", found)
import tensorflow as tf
salt = tf.saved_model.load("salt")
np.save("saved_model.npy", salt.serve(tiles)["probabilities"])
assert not {"models", "data"} & set(sys.modules)
"""


@pytest.mark.slow
def test_a_program_that_has_nothing_of_ours(exported):
    path, expected = exported("shrunk")
    np.save(path / "tiles.npy", IMAGES)
    command = [sys.executable, "-I", "-c", ELSEWHERE]  # -I: imports neither from here nor from the folder it runs in
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("onnx", "saved_model"):
        assert_same(np.load(path / f"{name}.npy"), expected)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return PREDICTORS["shrunk"]()


@pytest.mark.parametrize("name", ["salt.onnx", "salt"])
def test_what_exists_is_kept(tmp_path, predictor, name):
    (tmp_path / "salt.onnx").write_text("mine")
    (tmp_path / "salt").mkdir()
    (tmp_path / "away").symlink_to("nowhere")
    for path in (tmp_path / name, tmp_path / "away", tmp_path):
        refused(
            lambda path=path: export_predictor(path, predictor, NOTE), f"{path} exists; name a new path, or remove it"
        )
    refused(lambda: export_predictor(tmp_path / "salt.onnx/b" / name, predictor, NOTE), "cannot create the folder")
    assert names(tmp_path) == {"salt.onnx", "salt", "away"}
    assert (tmp_path / "salt.onnx").read_text() == "mine"


@pytest.mark.parametrize("name", ["salt.onnx", "salt"])
def test_a_file_that_comes_meanwhile_is_kept(tmp_path, predictor, monkeypatch, name):
    def write(temporary: Path, *_) -> None:
        temporary.write_text("ours")
        (tmp_path / name).write_text("theirs")

    monkeypatch.setattr(module, "write_onnx", write)
    monkeypatch.setattr(module, "write_saved_model", write)
    refused(lambda: export_predictor(tmp_path / name, predictor, NOTE), f"{name} exists; name a new path")
    assert (tmp_path / name).read_text() == "theirs"
    assert names(tmp_path) == {name}


def test_what_the_disk_does_not_take_leaves_nothing(tmp_path, predictor):
    path = tmp_path / "new/salt"
    with files_up_to(100_000):
        said = refused(lambda: export_predictor(path, predictor, NOTE), f"cannot write {path}: ")
    assert "File too large" in said
    assert names(tmp_path / "new") == set()


def test_an_interruption_leaves_nothing(tmp_path, predictor, monkeypatch):
    save = tf.saved_model.save

    def interrupted(*args, **kwargs) -> None:
        save(*args, **kwargs)
        assert names(tmp_path) == {f".{os.getpid()}.salt"}
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_predictor(tmp_path / "salt", predictor, NOTE)
    assert names(tmp_path) == set()


def test_more_than_onnx_can_hold_is_refused(tmp_path, predictor, monkeypatch):
    monkeypatch.setattr(module, "ONNX_BYTES", 1_000_000)
    said = refused(
        lambda: export_predictor(tmp_path / "a.onnx", predictor, NOTE), "an ONNX file holds 2; export fewer folds"
    )
    assert said.startswith("1 model(s) are 0.0 GB")
    assert names(tmp_path) == set()


@pytest.mark.slow
def test_the_command(tmp_path):
    """--export writes one line and is silent otherwise; the note is that of the weights."""
    save_weights(tmp_path / "fold_0_best.weights.h5", lively("tiny", 32)[0], RECIPE)
    flags = ("--file_name=fold_0_best.weights.h5", "--threshold=0.4", "--tta=False")
    of_onnx = run_script("tgs_predict.py", *flags, "--export=new/salt.onnx", cwd=tmp_path)
    of_saved_model = run_here(tgs_predict.main, *flags, "--export=salt", cwd=tmp_path)
    for done, path in ((of_onnx, "new/salt.onnx"), (of_saved_model, "salt")):
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"wrote {path}: ")
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["wrote", "next,"]
    note = json.loads((tmp_path / "salt/note.json").read_text())
    assert (note["threshold"], note["models"][0]["fold"]) == (0.4, "fold_0")
    found = onnxruntime.InferenceSession(tmp_path / "new/salt.onnx").get_modelmeta().custom_metadata_map
    assert {key: json.loads(value) for key, value in found.items()} == note
