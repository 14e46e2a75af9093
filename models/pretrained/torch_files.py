"""PyTorch's weight files, of both formats, read without running anything in them.

Such a file is a pickle: a program for a small machine that can call any function. `_harmless` reads the program first
without following it: it must be short, and of instructions that make dictionaries, lists, text and numbers. Then the
standard library's Unpickler follows it, with three functions of ours for the only ones that a state dict calls.
"""

import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from io import BytesIO

import numpy as np
from ml_dtypes import bfloat16

MAX_STEPS = 1_000_000  # of a program; EfficientNet-Lite2 has 20,000
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what files of PyTorch before 1.6 begin with
NUMBERS = {"Float": "<f4", "Half": "<f2", "BFloat16": bfloat16, "Double": "<f8", "Long": "<i8", "Int": "<i4",
           "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?"}  # fmt: skip
FOLLOWED = {
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "GLOBAL", "STACK_GLOBAL", "EMPTY_LIST", "APPEND",
    "APPENDS", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT",
    "MEMOIZE", "BINGET", "LONG_BINGET", "BINPERSID", "REDUCE",
}  # fmt: skip
REPLACED = {
    "EMPTY_DICT": b"ccollections\nOrderedDict\n)R",  # a Dict, too
    "BUILD": b"0",  # not set attributes, but drop them: of a state dict, a note on versions
    "FRAME": b"",
}
Storage = Callable[[str, np.dtype, int], np.ndarray]  # from key, type of numbers and their count: (count,)


def parse_torch(content: bytes) -> dict[str, np.ndarray]:
    """Read the tensors of a PyTorch file: names -> arrays as they are stored, some of them views of others.

    Names in dictionaries that lie in dictionaries are joined: {"state_dict": {"conv1.weight": ...}} gives
    "state_dict.conv1.weight".

    Raises:
        Exception: of many kinds, when this is no such file, is damaged, or asks for anything else than tensors.
    """
    tensors = _flat(_parse_zip(content) if content[:2] == b"PK" else _parse_legacy(BytesIO(content), len(content)))
    if not tensors:
        raise ValueError("not a dictionary of tensors")
    if sum(tensor.nbytes for tensor in tensors.values()) > len(content):
        raise ValueError("more numbers than the file has")
    return tensors


def _parse_zip(content: bytes) -> object:
    """Read the format since PyTorch 1.6: an archive of the program and a file a storage, none compressed."""
    archive = zipfile.ZipFile(BytesIO(content))
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise ValueError("compressed")
    if sum(info.file_size for info in archive.infolist()) > len(content):
        raise ValueError("files that lie in one another")
    programs = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(programs) != 1:
        raise ValueError("an archive without one data.pkl")
    root = programs[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise ValueError("not little-endian")
    return _Unpickler(
        BytesIO(archive.read(programs[0])),
        lambda key, number, count: _numbers(archive.read(f"{root}data/{key}"), number, count),
    ).load()


def _parse_legacy(file: BytesIO, size: int) -> object:
    """Read the format before: magic number, version, machine, program, storages' keys, and each with its length."""
    if (_Unpickler(file).load(), _Unpickler(file).load()) != (MAGIC, PROTOCOL):
        raise ValueError("neither an archive nor PyTorch's magic number")
    if _Unpickler(file).load()["little_endian"] is not True:
        raise ValueError("not little-endian")

    def empty(key: str, number: np.dtype, count: int) -> np.ndarray:
        nonlocal size
        size -= count * number.itemsize
        if size < 0:
            raise ValueError("truncated")
        return np.empty(count, number)

    program = _Unpickler(file, empty)
    saved = program.load()
    for key in _is(list, _Unpickler(file).load()):
        storage, count = program.storages[_is(str, key)], int.from_bytes(file.read(8), "little")
        if count != storage.size:
            raise ValueError(f"{count} numbers where {storage.size} should be")
        storage[:] = _numbers(file.read(storage.nbytes), storage.dtype, count)
    return saved


def _numbers(data: bytes, number: np.dtype, count: int) -> np.ndarray:
    if len(data) != count * number.itemsize:
        raise ValueError("truncated")
    return np.frombuffer(data, number)


def _harmless(file: BytesIO) -> BytesIO:
    """Read the program at the file's position, which moves to its end; returns one that may be followed."""
    program, content = [], file.getbuffer()
    for step, (operation, value, start) in enumerate(pickletools.genops(file)):
        if step == MAX_STEPS or (operation.name == "LONG_BINPUT" and value > MAX_STEPS):  # memory up to that number
            raise ValueError("a program without an end")
        if operation.name not in FOLLOWED and operation.name not in REPLACED:
            raise ValueError(f"asks for {operation.name}")
        program.append(REPLACED.get(operation.name, content[start : file.tell()]))
    return BytesIO(b"".join(program))


class Dict(dict):
    """A dictionary with names only: hashing a tuple of tuples of tuples can take forever."""

    def __init__(self):  # from nothing: the constructor would not ask __setitem__
        super().__init__()

    def __setitem__(self, key: object, value: object) -> None:
        if type(key) not in (str, int):
            raise TypeError(f"a {type(key).__name__} where a str should be")
        super().__setitem__(key, value)


class _Unpickler(pickle.Unpickler):
    """Follows the program at a file's position."""

    def __init__(self, file: BytesIO, storage: Storage | None = None):
        super().__init__(_harmless(file))
        self.storages: dict[str, np.ndarray] = {}
        self._storage = storage

    def find_class(self, module: str, name: str) -> Callable | str:
        """Look up what stands for a name in the program: a function of ours, or the kind of numbers in a storage."""
        kind = name.removesuffix("Storage")
        if (module, name) in FUNCTIONS:
            return FUNCTIONS[module, name]
        if module == "torch" and kind != name and kind in NUMBERS:
            return kind
        raise ValueError(f"asks for '{module}.{name}'")

    def persistent_load(self, saved: tuple) -> np.ndarray:
        """Read the numbers of ("storage", kind, key, device, count), and perhaps None for a view."""
        word, kind, key, _, count, *view = saved
        if _is(str, word) != "storage" or view not in ([], [None]):
            raise ValueError("numbers of an unknown kind")
        number, (count,) = np.dtype(NUMBERS[_is(str, kind)]), _counts((count,))
        if _is(str, key) not in self.storages:
            self.storages[key] = self._storage(key, number, count)
        if (self.storages[key].dtype, self.storages[key].size) != (number, count):
            raise ValueError("numbers of two kinds in one place")
        return self.storages[key]


def _tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> np.ndarray:
    """View a storage, within whose bounds it must lie; the rest is whether it is trained, hooks and notes."""
    size = _is(np.ndarray, storage).itemsize
    if 0 in _counts(shape) or math.prod(shape) > storage.size:
        raise ValueError("a tensor that is empty, or not within its numbers")
    start, *steps = (size * step for step in _counts((offset, *_counts(strides))))
    return np.ndarray(shape, storage.dtype, storage, start, steps)  # ValueError beyond the storage's end


FUNCTIONS = {
    ("collections", "OrderedDict"): Dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
}


def _is(kind: type, value: object):
    """Return the value, which must be of exactly this type."""
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


def _counts(values: object) -> tuple[int, ...]:
    """Return the values, which must be whole numbers of at least 0, and at most 9 of them."""
    if len(_is(tuple, values)) > 9 or any(_is(int, value) < 0 for value in values):
        raise ValueError("a negative number, or too many dimensions")
    return values


def _flat(saved: object) -> dict[str, np.ndarray]:
    """Find the arrays in a dictionary, and in those in it to the fourth level, each dictionary once."""
    found, level, seen = {}, [("", saved)], set()
    for _ in range(4):
        dicts = [(prefix, d) for prefix, d in level if type(d) is Dict and not (id(d) in seen or seen.add(id(d)))]
        level = [(f"{prefix}{name}", value) for prefix, d in dicts for name, value in d.items()]
        found |= {name: value for name, value in level if type(value) is np.ndarray}
        level = [(f"{name}.", value) for name, value in level]
    return found
