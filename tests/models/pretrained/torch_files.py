"""PyTorch's two file formats, written by hand: what torch.save makes of a state dict, without torch."""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

MAGIC, PROTOCOL, MACHINE = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "type_sizes": {"int": 4}}
NEW_DICT = b"ccollections\nOrderedDict\n)R"
KINDS = {"float32": "Float", "int64": "Long", "float16": "Half", "bfloat16": "BFloat16", "float64": "Double"}


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def tensor(key: str, count: int, shape: tuple, strides: tuple, *, offset: int = 0, kind: str = "float32") -> bytes:
    """The instructions that make one tensor of `count` numbers kept under `key`."""
    storage = (
        b"("
        + text("storage")
        + f"ctorch\n{KINDS[kind]}Storage\n".encode()
        + text(key)
        + text("cpu")
        + b"J"
        + struct.pack("<i", count)
        + b"tQ"
    )
    start = b"J" + struct.pack("<i", offset)
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage + start + numbers(*shape) + numbers(*strides) + b"\x89" + NEW_DICT + b"tR"
    )  # fmt: skip


def program(tensors: Mapping[str, bytes]) -> bytes:
    """The instructions that make a state dict, with a note on versions as torch adds it."""
    items = b"".join(text(name) + made for name, made in tensors.items())
    return b"\x80\x02" + NEW_DICT + b"(" + items + b"u" + b"}" + text("_metadata") + NEW_DICT + b"sb."


def whole(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The program for these arrays, each transposed in memory as TensorFlow's are after a conversion."""
    made = {}
    for k, (name, array) in enumerate(arrays.items()):
        strides = tuple(n // array.itemsize for n in array.T.copy().T.strides)
        made[name] = tensor(str(k), array.size, array.shape, strides, kind=array.dtype.name)
    return program(made)


def legacy(made: bytes, storages: list[np.ndarray]) -> bytes:
    """A file of PyTorch before 1.6."""
    parts = [pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, MACHINE)]
    keys = pickle.dumps([str(k) for k in range(len(storages))], 2)
    return b"".join([*parts, made, keys, *(struct.pack("<q", s.size) + s.T.tobytes() for s in storages)])


def archive(made: bytes, storages: list[np.ndarray], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A file of PyTorch since."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as opened:
        opened.writestr("w/data.pkl", made)
        opened.writestr("w/byteorder", b"little")
        for k, storage in enumerate(storages):
            opened.writestr(f"w/data/{k}", storage.T.tobytes())
    return file.getvalue()


FORMATS = {"legacy": legacy, "archive": archive}
