"""PyTorch's files: numbers come out as they went in, and nothing in them is run."""

import contextlib
import io
import pickle
import random
import resource
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from models.pretrained import files, torch_files
from models.pretrained.files import read_tensors
from tests.helpers.commands import refused
from tests.models.pretrained.torch_files import (
    FORMATS,
    MACHINE,
    MAGIC,
    PROTOCOL,
    archive,
    legacy,
    program,
    tensor,
    text,
    whole,
)
from tests.promises.corpus.damage import Touch

ARRAYS = {
    "conv.weight": np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5),
    "bn.weight": np.float32([1.5, -2]),
    "bn.num_batches_tracked": np.array(7),
}


def put(path: Path, content: bytes) -> Path:
    (path / "w.pth").write_bytes(content)
    return path / "w.pth"


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_come_back(tmp_path, form):
    found, _ = read_tensors(put(tmp_path, FORMATS[form](whole(ARRAYS), list(ARRAYS.values()))))
    assert list(found) == list(ARRAYS)
    assert all(np.array_equal(found[name], ARRAYS[name]) and found[name].dtype == ARRAYS[name].dtype for name in found)


@pytest.mark.parametrize("form", FORMATS)
def test_views_of_one_storage(tmp_path, form):
    ten = np.arange(10, dtype=np.float32)
    made = program({"row": tensor("0", 10, (3,), (1,), offset=7), "columns": tensor("0", 10, (2, 3), (1, 2), offset=1)})
    found, _ = read_tensors(put(tmp_path, FORMATS[form](made, [ten])))
    assert found["row"].tolist() == [7, 8, 9]
    assert found["columns"].tolist() == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", FORMATS)
def test_a_program_that_plain_pickle_runs_is_refused(tmp_path, monkeypatch, form, protocol):
    monkeypatch.chdir(tmp_path)
    hostile = pickle.dumps(Touch(), protocol)
    path = put(tmp_path, FORMATS[form](hostile, []))
    refused(lambda: read_tensors(path), f"{path} is no PyTorch file of tensors alone (asks for ")
    assert not Path("pwned").exists()
    if form == "archive":
        with zipfile.ZipFile(path) as opened:
            pickle.loads(opened.read("w/data.pkl"))
    else:
        with path.open("rb") as file:
            assert [pickle.load(file) for _ in range(3)] == [MAGIC, PROTOCOL, MACHINE]
            pickle.load(file)
    assert Path("pwned").exists()


def bent(**change) -> bytes:
    """A file of one tensor, four numbers in a row but for `change`."""
    made = tensor(**({"key": "0", "count": 4, "shape": (2, 2), "strides": (2, 1)} | change))
    return archive(program({"a": made}), [np.zeros(4, np.float32)])


FOUR = [np.zeros(4, np.float32)]
GOOD = whole({"a": FOUR[0]})
BAD = {
    "beyond its numbers": (bent(offset=1), "strides is incompatible"),
    "strides beyond": (bent(strides=(3, 1)), "strides is incompatible"),
    "a negative stride": (bent(strides=(-2, 1)), "negative number"),
    "a negative offset": (bent(offset=-1), "negative number"),
    "an empty tensor": (bent(shape=(0, 2)), "empty"),
    "one number a million times": (bent(shape=(1000, 1000), strides=(0, 0)), "not within its numbers"),
    "one number twice": (bent(shape=(8,), strides=(0,)), "not within its numbers"),
    "nine dimensions": (bent(shape=(1,) * 9, strides=(1,) * 9), "too many dimensions"),
    "fewer strides than sizes": (bent(strides=(1,)), "strides, if given, must be the same length"),
    "a storage that is not there": (bent(key="1"), "There is no item named"),
    "a storage outside": (bent(key="../../etc/passwd"), "There is no item named"),
    "a longer storage": (bent(count=5), "truncated"),
    "compressed": (archive(GOOD, FOUR, zipfile.ZIP_DEFLATED), "compressed"),
    "truncated archive": (archive(GOOD, FOUR)[:-30], "not a zip file"),
    "truncated legacy": (legacy(GOOD, FOUR)[:-1], "truncated"),
    "another length": (legacy(GOOD, FOUR).replace(b"\4" + bytes(7), b"\3" + bytes(7)), "3 numbers where 4 should be"),
    "another function": (archive(GOOD.replace(b"utils\n_r", b"utils\n_q"), FOUR), "asks for 'torch._utils._q"),
    "numbers of 16 bits": (archive(GOOD.replace(b"FloatS", b"HalfS"), FOUR), "truncated"),
    "numbers of 4 bits": (archive(GOOD.replace(b"FloatS", b"QUInt4x2S"), FOUR), "asks for 'torch.QUInt4x2Storage'"),
    "numbers of two kinds": (
        archive(program({"a": tensor("0", 4, (4,), (1,)), "b": tensor("0", 2, (2,), (1,), kind="float64")}), FOUR),
        "numbers of two kinds in one place",
    ),
    "a call of text": (archive(b"\x80\x02X\2\0\0\0os(tR.", []), "str"),
    "a list": (archive(pickle.dumps([1, 2], 2), []), "not a dictionary of tensors"),
    "no tensors in it": (archive(pickle.dumps({"state_dict": {}, 1: 2}, 2), []), "not a dictionary of tensors"),
    "fractions for names": (archive(pickle.dumps({0.5: 2}, 2), []), "a float where a str should be"),
    "an empty stack": (archive(b"\x80\x02u.", []), "could not find MARK"),
    "no end": (archive(b"\x80\x02" + b"(" * 100, []), "pickle exhausted"),
    "a memory of nothing": (archive(b"\x80\x02h\x05.", []), "5"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_state_dict_is_refused(tmp_path, case):
    content, said = BAD[case]
    path = put(tmp_path, content)
    assert said in refused(lambda: read_tensors(path), f"{path} is no PyTorch file of tensors alone (")


def test_sizes_and_steps_are_bounded(tmp_path, monkeypatch):
    path = put(tmp_path, archive(GOOD, FOUR))
    monkeypatch.setattr(torch_files, "MAX_STEPS", 5)
    refused(lambda: read_tensors(path), "a program without an end")
    monkeypatch.setattr(files, "MAX_BYTES", 5)
    refused(lambda: read_tensors(path), "w.pth is larger than weights can be")
    refused(lambda: read_tensors(tmp_path / "none.pth"), "none.pth: No such file")


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_files_are_read_or_refused(tmp_path, form):
    rng, content = random.Random(1), FORMATS[form](whole(ARRAYS), list(ARRAYS.values()))
    for _ in range(400):
        changed = bytearray(content)
        for _ in range(rng.choice((1, 2, 8))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path = put(tmp_path, bytes(changed[: rng.choice((None, rng.randrange(len(changed))))]))
        with contextlib.suppress(InputError):
            assert sum(array.nbytes for array in read_tensors(path)[0].values()) <= len(content)


def test_a_pickle_of_its_own_memory_is_no_tensor(tmp_path):
    made = io.BytesIO()
    loop: list = []
    loop.append(loop)
    pickle.dump({"a": loop}, made, 2)
    refused(lambda: read_tensors(put(tmp_path, archive(made.getvalue(), []))), "not a dictionary of tensors")


def shared(times: int) -> bytes:
    """The instructions that make a tuple of two of a tuple of two of ..., 2**times empty ones in all."""
    steps = (b"r%bj%b\x86" % (2 * (k.to_bytes(4, "little"),)) for k in range(times))
    return b")" + b"".join(steps)


BOMBS = {
    "tuples of tuples for a name": (b"\x80\x02}" + shared(60) + b"K\1s.", "a tuple where a str should be"),
    "tuples 300,000 deep for a name": (b"\x80\x02})" + b"\x85" * 300_000 + b"K\1s.", "a tuple where a str should be"),
    "tuples for a storage": (b"\x80\x02" + shared(60) + b"Q.", "unpack"),
    "tuples for its kind": (b"\x80\x02(X\7\0\0\0storage" + shared(60) + b"NNNtQ.", "a tuple where a str should be"),
    "a memory of 2**31 places": (b"\x80\x02Nr\xff\xff\xff\x7f.", "a program without an end"),
    "a text of 2**31 letters": (b"\x80\x02X\xff\xff\xff\x7f.", "expected 2147483647 bytes"),
    "a frame of 2**60 bytes": (b"\x80\4\x95" + bytes(7) + b"\x10.", "stack underflow"),
}


@pytest.mark.parametrize("case", BOMBS)
@pytest.mark.parametrize("form", FORMATS)
def test_a_small_file_takes_little_time_and_memory(tmp_path, form, case):
    made, said = BOMBS[case]
    path, before = put(tmp_path, FORMATS[form](made, [])), time.process_time()
    refused(lambda: read_tensors(path), said)
    assert time.process_time() - before < 30  # without the guards: years, or all memory
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 << 20  # KiB


def test_a_state_dict_cannot_change_the_reader(tmp_path):
    """BUILD would set attributes of whatever lies on the stack, of our own functions too."""
    state = b"N}" + text("__defaults__") + b"K\1\x85s\x86b"
    made = b"\x80\x02}" + text("a") + tensor("0", 4, (4,), (1,)) + b"s"
    made += text("b") + b"ctorch._utils\n_rebuild_tensor_v2\n" + state + b"s."
    found, _ = read_tensors(put(tmp_path, archive(made, FOUR)))
    assert list(found) == ["a"]
    assert torch_files.FUNCTIONS["torch._utils", "_rebuild_tensor_v2"].__defaults__ is None
