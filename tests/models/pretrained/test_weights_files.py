"""Weights files as people have them: any name, prefix, wrapper or precision, or one line that is true."""

import gzip
import io
import pickle
import tarfile
import zipfile

import h5py
import keras
import numpy as np
import pytest
from ml_dtypes import bfloat16
from safetensors.numpy import save

from models import MODELS
from models.pretrained.load import load_encoder
from tests.helpers.commands import ROOT, refused
from tests.models.pretrained.timm_features import recipe
from tests.models.pretrained.torch_files import NEW_DICT, archive, legacy, program, text, whole


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """The weights of timm's tf_efficientnet_lite0."""
    with np.load(ROOT / "tests/models/pretrained/timm_features.npz") as golden:
        lines = [line.split() for line in golden["efficientnet_lite0.shapes"]]
    return {name: recipe(name, tuple(map(int, shape))) for name, *shape in lines}


@pytest.fixture(scope="module")
def lite0() -> keras.Model:
    image = keras.Input((32, 32, 1))
    return keras.Model(image, MODELS["efficientnet_lite0"].encoder(image), name="efficientnet_lite0")


@pytest.fixture
def loads(tmp_path, lite0, tensors):
    """Write a file and load it; returns whether the encoder then has the weights."""

    def check(content: bytes, name: str = "w.pth", precision: type = np.float32) -> bool:
        (tmp_path / name).write_bytes(content)
        lite0.set_weights([np.zeros_like(weight) for weight in lite0.get_weights()])
        load_encoder(lite0, tmp_path / name)
        loaded = lite0.get_layer("encoder.blocks.3.1.conv_pwl").kernel.numpy()[0, 0].T
        return np.array_equal(loaded, tensors["blocks.3.1.conv_pwl.weight"][:, :, 0, 0].astype(precision))

    return check


def pth(tensors: dict[str, np.ndarray], form=archive) -> bytes:
    return form(whole(tensors), list(tensors.values()))


def wrapped(tensors: dict[str, np.ndarray], *names: str) -> bytes:
    """A PyTorch archive of a checkpoint: epoch and optimizer beside the state dict, which lies in dictionaries."""
    made = whole(tensors)[2:-1]  # without protocol and end
    for name in names:
        made = NEW_DICT + b"(" + text("epoch") + b"K\7" + text("lr") + b"G?PbM\xd2\xf1\xa9\xfc"
        made += text("betas") + b"G?\xec\xcc\xcc\xcc\xcc\xcc\xcdG?\xef\xf7\xce\xd9\x16\x87+\x86"
        made += text("optimizer") + b"}(" + text("state") + b"}K\0}su" + text(name) + whole(tensors)[2:-1] + b"u"
    return archive(b"\x80\x02" + made + b".", list(tensors.values()))


NAMES = ["w.pth.tar", "w.bin", "w.safetensors", "w.h5", "weights"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["safetensors", "archive", "legacy"])
def test_the_content_tells_and_not_the_name(loads, tensors, form, name):
    content = save(tensors) if form == "safetensors" else pth(tensors, {"archive": archive, "legacy": legacy}[form])
    assert loads(content, name)


@pytest.mark.parametrize("prefix", ["encoder.", "module.", "model.", "backbone.", "module.encoder."])
def test_prefixes(loads, tensors, prefix):
    prefixed = {prefix + name: value for name, value in tensors.items()}
    assert loads(save(prefixed | {"head.weight": np.zeros(3, np.float32)}))
    assert loads(pth(prefixed, legacy))


@pytest.mark.parametrize("name", ["state_dict", "model", "model_state_dict"])
def test_wrappers(loads, tensors, name):
    assert loads(wrapped(tensors, name))
    assert loads(wrapped({f"module.{key}": value for key, value in tensors.items()}, name))


@pytest.mark.parametrize("precision", [np.float16, bfloat16, np.float64])
def test_precisions(loads, tensors, precision):
    cast = {name: value.astype(precision) for name, value in tensors.items()}
    assert loads(pth(cast), precision=precision)
    assert loads(pth(cast, legacy), precision=precision)
    assert loads(brain(cast) if precision is bfloat16 else save(cast), precision=precision)


def brain(tensors: dict[str, np.ndarray]) -> bytes:
    """safetensors of bfloat16, which its numpy interface does not write."""
    content = save({name: value.view(np.uint16) for name, value in tensors.items()})
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].replace(b'"U16"', b'"BF16"')
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def test_two_networks_in_a_file_are_one_too_many(tmp_path, lite0, tensors):
    both = {f"{prefix}.{name}": value for prefix in ("model", "ema") for name, value in tensors.items()}
    (tmp_path / "w.bin").write_bytes(save(both))
    said = refused(lambda: load_encoder(lite0, tmp_path / "w.bin"), "w.bin has 2 networks, '")
    assert "'ema.'" in said
    assert "'model.'" in said


def test_a_deeper_network_is_another(tmp_path, lite0, tensors):
    more = tensors | {"blocks.4.3.conv_pw.weight": np.zeros((4, 4, 1, 1), np.float32)}
    (tmp_path / "w.bin").write_bytes(save(more))
    refused(
        lambda: load_encoder(lite0, tmp_path / "w.bin"), "w.bin has 'blocks.4.3.conv_pw.weight', which is of another"
    )


def hdf5() -> bytes:
    file = io.BytesIO()
    h5py.File(file, "w").close()
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as opened:
        opened.addfile(tarfile.TarInfo("tensors"))
    return file.getvalue()


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr(name, b"")
    return file.getvalue()


OTHERS = {
    "Keras' weights": (hdf5(), "is an HDF5 file, as Keras writes them"),
    "a tar of the first PyTorch": (tar(), "is a tar archive: unpack it"),
    "gzip": (gzip.compress(b"weights"), "is compressed by gzip: unpack it"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull gets it"),
    "a login page": (b"<!DOCTYPE html><html>log in first</html>", "is a web page"),
    "a Keras archive": (zipped("model.weights.h5"), "is no PyTorch file of tensors alone (an archive without one data"),
    "a pickle of numbers": (pickle.dumps([1.5], 2), "is no PyTorch file of tensors alone ("),
    "a whole network": (
        archive(b"\x80\x02ctorchvision.models.resnet\nResNet\n)R.", []),
        "is no PyTorch file of tensors alone (asks for 'torchvision.models.resnet.ResNet')",
    ),
    "text": (b"numbers", "is neither a PyTorch nor a safetensors file (Error while deserializing"),
    "without tensors": (archive(program({}), []), "is no PyTorch file of tensors alone (not a dictionary of tensors)"),
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_else_people_have_is_called_what_it_is(tmp_path, lite0, what, name):
    content, said = OTHERS[what]
    (tmp_path / name).write_bytes(content)
    line = refused(
        lambda: load_encoder(lite0, tmp_path / name), f"{tmp_path / name} {said}" if said[:3] == "is " else said
    )
    assert line.endswith("; give a state dict of PyTorch's, or timm's model.safetensors")
