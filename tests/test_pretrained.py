"""Pretrained encoders: timm's names and layout, the stem's colours, and files that do not fit."""

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from data.errors import InputError
from models import make_model
from models.pretrained import load_encoder


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
