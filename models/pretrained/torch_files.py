"""PyTorch's weight files (.pth), read without running anything in them.

Such a file is a pickle: a program for a small machine that can call any function. Here the program is only read, by a
machine that knows lists, dictionaries, text and whole numbers, and for which a function's name is a piece of text.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from common.errors import InputError
from data.tiles import check_is_file

MAX_BYTES = 1 << 30  # of a file; ResNet-152 has 240 MB
MAX_STEPS = 1_000_000  # of its program; EfficientNet-Lite2 has 20,000
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what files of PyTorch before 1.6 begin with
TYPES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
# What a program that is none of ours runs into; RuntimeError is zipfile's for encrypted files and what it lacks.
REFUSALS = (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RuntimeError)
REFUSALS += (zipfile.BadZipFile,)
TENSOR, DICT = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"


class _Storage(NamedTuple):
    """Numbers in a row: their type's name, where they are in the file, and how many."""

    kind: str
    key: str
    count: int


class _Tensor(NamedTuple):
    """A view of a storage: all in numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch(path: str | Path) -> dict[str, np.ndarray]:
    """Read the floating-point tensors of a state dict: names -> float32 arrays; counters are left out.

    Raises:
        InputError: no such file, or one that holds anything else than a dictionary of tensors.
    """
    try:
        check_is_file(path)
        if Path(path).stat().st_size > MAX_BYTES:
            raise ValueError("larger than weights can be")
        content = Path(path).read_bytes()
        tensors, read = _read_zip(content) if content[:2] == b"PK" else _read_legacy(BytesIO(content))
        if not isinstance(tensors, dict) or not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
            raise ValueError("not a dictionary of tensors")
        if sum(math.prod(t.shape) * TYPES[t.storage.kind].itemsize for t in tensors.values()) > len(content):
            raise ValueError("more numbers than the file has")
        read = cache(read)
        found = {name: _array(tensor, read) for name, tensor in tensors.items()}
        return {name: array for name, array in found.items() if array.dtype.kind == "f"}
    except REFUSALS as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path} is no PyTorch file of tensors alone ({reason}); give a state dict, or timm's model.safetensors"
        ) from None


Reader = Callable[[_Storage], bytes]


def _read_zip(content: bytes) -> tuple[object, Reader]:
    """The format since PyTorch 1.6: an archive of the program and a file a storage, none compressed."""
    archive = zipfile.ZipFile(BytesIO(content))
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise ValueError("compressed")
    if sum(info.file_size for info in archive.infolist()) > len(content):
        raise ValueError("files that lie in one another")
    (program,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
    root = program.removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise ValueError("not little-endian")
    return _unpickle(BytesIO(archive.read(program))), lambda storage: archive.read(f"{root}data/{storage.key}")


def _read_legacy(file: BinaryIO) -> tuple[object, Reader]:
    """The format before: magic number, version, machine, program, keys of the storages, and each with its length."""
    if (_unpickle(file), _unpickle(file)) != (MAGIC, PROTOCOL):
        raise ValueError("neither an archive nor PyTorch's magic number")
    if _unpickle(file)["little_endian"] is not True:
        raise ValueError("not little-endian")
    tensors, keys, places = _unpickle(file), _unpickle(file), {}
    storages = {tensor.storage for tensor in tensors.values()}
    sizes = {storage.key: _size(storage) for storage in storages}
    if len(sizes) < len(storages):
        raise ValueError("numbers of two kinds in one place")
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        places[key] = file.tell(), count
        file.seek(sizes[key], 1)

    def read(storage: _Storage) -> bytes:
        start, count = places[storage.key]
        if count != storage.count:
            raise ValueError(f"{count} numbers where {storage.count} should be")
        file.seek(start)
        return file.read(_size(storage))

    return tensors, read


def _size(storage: _Storage) -> int:
    """In bytes."""
    return storage.count * TYPES[storage.kind].itemsize


def _array(tensor: _Tensor, read: Reader) -> np.ndarray:
    """Copy a tensor out of its storage, within whose bounds it must lie."""
    storage, offset, shape, strides = tensor
    reach = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 in shape or reach >= storage.count or math.prod(shape) > storage.count:
        raise ValueError("a tensor that is empty, or not within its numbers")
    data, number = read(storage), TYPES[storage.kind]
    if len(data) != _size(storage):
        raise ValueError("truncated")
    return np.ndarray(shape, number, data, offset * number.itemsize, [n * number.itemsize for n in strides]).copy()


def _unpickle(file: BinaryIO) -> object:  # noqa: PLR0912, a case for each instruction
    """Follow the program that begins here, up to its end."""
    stack: list = []
    marks: list[int] = []
    memo: dict[int, object] = {}
    for step, (operation, value, _) in enumerate(pickletools.genops(file)):
        if step == MAX_STEPS:
            break
        match operation.name:
            case "PROTO":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation.name])
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(value)
            case "GLOBAL":
                if value not in (TENSOR, DICT, *TYPES):
                    raise ValueError(f"asks for {value.replace(' ', '.')!r}")
                stack.append(value)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[operation.name])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(_cut(stack, len(stack) - int(operation.name[-1]))))
            case "TUPLE":
                stack.append(tuple(_cut(stack, marks.pop())))
            case "APPEND" | "APPENDS":
                values = _cut(stack, marks.pop() if operation.name == "APPENDS" else len(stack) - 1)
                _is(list, stack[-1]).extend(values)
            case "SETITEM":
                _set(_cut(stack, len(stack) - 2), stack)
            case "SETITEMS":
                _set(_cut(stack, marks.pop()), stack)
            case "BINPUT" | "LONG_BINPUT":
                memo[value] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[value])
            case "BINPERSID":
                stack.append(_storage(*stack.pop()))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_made(stack.pop(), *arguments))
            case "BUILD":
                stack.pop()  # a state dict's note on versions
            case other:
                raise ValueError(f"asks for {other}")
    raise ValueError("a program without an end")


def _cut(stack: list, start: int) -> list:
    """Take off the stack what lies on it from `start` on."""
    if not 0 <= start <= len(stack):
        raise ValueError("a program that takes what it has not put")
    values = stack[start:]
    del stack[start:]
    return values


def _set(values: list, stack: list) -> None:
    """Put keys and values, in turns, into the dictionary on the stack."""
    pairs = zip(values[::2], values[1::2], strict=True)
    _is(dict, stack[-1]).update((_is(str, key), value) for key, value in pairs)


def _is(kind: type, value: object):
    """The value, of exactly this type."""
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


def _counts(values: tuple) -> tuple[int, ...]:
    """Whole numbers of at least 0, and at most 8 of them."""
    if len(_is(tuple, values)) > 8 or any(_is(int, value) < 0 for value in values):
        raise ValueError("a negative number, or too many dimensions")
    return values


def _storage(word: str, kind: str, key: str, device: str, *count_and_view: object) -> _Storage:
    count, *view = count_and_view
    if word != "storage" or kind not in TYPES or view not in ([], [None]):
        raise ValueError("numbers of an unknown kind")
    return _Storage(kind, _is(str, key), *_counts((count,)))


def _made(name: str, *arguments: object) -> object:
    """What the two functions that a state dict needs would make."""
    if name == DICT and not arguments:
        return {}
    if name == TENSOR and len(arguments) >= 4:  # then whether it is trained, hooks and notes
        storage, offset, shape, strides = arguments[:4]
        return _Tensor(_is(_Storage, storage), *_counts((offset,)), _counts(shape), _counts(strides))
    raise ValueError("asks for what a state dict does not need")
