"""Our encoders against timm's: with the same weights, the same features at every stride."""

import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from models import MODELS
from models.pretrained.load import load_encoder
from tests.helpers.commands import ROOT
from tests.models.pretrained.timm_features import NETWORKS, STRIDES, gray, recipe, sampled

GOLDEN = ROOT / "tests/models/pretrained/timm_features.npz"
PEERS_PYTHON = ROOT / "benchmarks/.venv/bin/python"
ALIKE = {"resnet34", "seresnet34", "seresnet50", "efficientnet_lite1", "efficientnet_lite2"}
ALIKE |= {f"efficientnetv2_b{k}" for k in (1, 2, 3)}  # of the others' parts, only more of them
EACH = [pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in NETWORKS]


def features(name: str, path: Path) -> dict[int, np.ndarray]:
    """Our features of the gray image by stride, (1, C, H, W) as timm has them, with the weights of a file."""
    image = keras.Input((64, 64, 1))
    ours = MODELS[name].encoder(image)
    model = keras.Model(image, ours, name=name)
    load_encoder(model, path)
    return {stride: value.numpy().transpose(0, 3, 1, 2) for stride, value in model(gray()[:, 0, :, :, None]).items()}


@pytest.mark.parametrize("name", EACH)
def test_features_are_those_that_timm_gave(name, tmp_path):
    with np.load(GOLDEN) as golden:
        shapes, theirs = golden[f"{name}.shapes"], golden[f"{name}.features"]
    tensors = (line.split() for line in shapes)
    weights = {key: recipe(key, tuple(map(int, shape))) for key, *shape in tensors}
    save_file(weights, tmp_path / "w.safetensors")
    ours = features(name, tmp_path / "w.safetensors")
    assert tuple(ours) == STRIDES
    for stride, values in zip(STRIDES, theirs, strict=True):
        assert values.std() > 0.1
        assert np.abs(sampled(ours[stride]) - values).max() < 1e-4, stride


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Path:
    """Weights and features of timm's networks, made by timm now."""
    asked = [PEERS_PYTHON, "-c", "import timm"]
    if not PEERS_PYTHON.is_file() or subprocess.run(asked, check=False, capture_output=True).returncode:
        pytest.skip("benchmarks/.venv has no timm: make bench installs it")
    path = tmp_path_factory.mktemp("timm")
    subprocess.run(
        [PEERS_PYTHON, "-m", "tests.models.pretrained.timm_features", f"--live={path}"],
        cwd=ROOT,
        check=True,
        timeout=600,
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_timm(name, live):
    ours = features(name, live / f"{name}.safetensors")
    with np.load(live / f"{name}.npz") as theirs:
        for stride, values in ours.items():
            assert values.shape == theirs[str(stride)].shape
            assert np.abs(values - theirs[str(stride)]).max() < 1e-4, stride
