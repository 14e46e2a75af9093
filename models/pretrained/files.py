"""Files of weights as people have them: told by their content, whatever their name, and read as numbers only."""

import zipfile
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
from ml_dtypes import bfloat16
from safetensors import SafetensorError, deserialize

from common.digests import digest
from common.errors import InputError, refusals
from data.tiles import check_is_file
from models.pretrained.torch_files import parse_torch

MAX_BYTES = 1 << 30  # ResNet-152 has 240 MB
NUMBERS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": bfloat16, "I64": "<i8", "U64": "<u8", "I32": "<i4",
           "U32": "<u4", "I16": "<i2", "U16": "<u2", "I8": "i1", "U8": "u1", "BOOL": "?"}  # fmt: skip
GIVE = "give a state dict of PyTorch's, or timm's model.safetensors"
OTHERS = (  # where in a file, what is there, what is said of the file
    (0, b"\x89HDF\r\n", "is an HDF5 file, as Keras writes them"),
    (0, b"\x1f\x8b", "is compressed by gzip: unpack it"),
    (257, b"ustar", "is a tar archive: unpack it"),
    (0, b"version https://git-lfs", "is Git LFS's note in the place of a file: git lfs pull gets it"),
    (0, b"<html", "is a web page"),
    (0, b"<!", "is a web page"),
)
# What a program or a header that is none of ours runs into; RuntimeError is zipfile's for encrypted files.
REFUSALS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RuntimeError)
REFUSALS += (zipfile.BadZipFile, UnpicklingError, SafetensorError)


def read_tensors(path: str | Path) -> tuple[dict[str, np.ndarray], str]:
    """Read a safetensors or PyTorch file: tensors by name, as they are stored, and the file's SHA-256.

    Raises:
        InputError: no such file, or one that is damaged or holds anything else than tensors.
    """
    with refusals("read", path):
        check_is_file(path)
        if Path(path).stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than weights can be")
        content = Path(path).read_bytes()
    safetensors = content[8:9] == b"{"
    torchs = not safetensors and content.startswith((b"PK\3\4", b"\x80"))
    for start, magic, what in () if safetensors or torchs else OTHERS:
        if content.startswith(magic, start):
            raise InputError(f"{path} {what}; {GIVE}")
    try:
        return (parse_torch if torchs else _parse_safetensors)(content), digest(content)
    except REFUSALS as error:
        reason = " ".join(str(error).split())[:120]
        what = "is no PyTorch file of tensors alone" if torchs else "is neither a PyTorch nor a safetensors file"
        raise InputError(f"{path} {what} ({reason}); {GIVE}") from None


def _parse_safetensors(content: bytes) -> dict[str, np.ndarray]:
    found = {}
    for name, tensor in deserialize(content):
        if tensor["dtype"] not in NUMBERS:
            raise ValueError(f"'{name}' holds {tensor['dtype']}")
        found[name] = np.frombuffer(tensor["data"], NUMBERS[tensor["dtype"]]).reshape(tensor["shape"])
    return found
