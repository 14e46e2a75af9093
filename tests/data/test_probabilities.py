"""Writing probabilities: in order, rounded as said, whole or not at all, never over another file, in flat memory."""

import os
import resource
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import InputError
from data.probabilities import write_section, writing_probabilities
from tests.helpers.commands import refused
from tests.helpers.privileges import as_ordinary_user

KINDS = ("png", "npy")

TILES = np.random.default_rng(0).random((5, 101, 101), np.float32)
IDS = ["b", "a", "c", "10", "9"]
STEPS = np.array([[0, 0.5 / 255 - 1e-4, 0.5 / 255 + 1e-4, 0.1], [0.5, 254.4 / 255, 1, 1.0000001]], np.float32)
GRAYS = [[0, 0, 1, 26], [128, 254, 255, 255]]  # 0.1 * 255 is 25.5, in float32 a little more


def write(path: Path, kind: str) -> None:
    with writing_probabilities(path, kind, IDS) as write_next:
        write_next(TILES[:2])
        write_next(TILES[2:])


def test_an_array_in_the_order_of_the_ids(tmp_path):
    write(tmp_path / "p.npy", "npy")
    found = np.load(tmp_path / "p.npy", allow_pickle=False)
    assert (found.dtype, found.shape) == (np.float16, (5, 101, 101))
    assert found.tobytes() == TILES.astype(np.float16).tobytes()
    assert abs(found - TILES).max() <= 2.0**-12  # half of float16's spacing below 1
    assert os.listdir(tmp_path) == ["p.npy"]


def test_a_folder_of_a_png_for_each_id(tmp_path):
    write(tmp_path / "p", "png")
    assert os.listdir(tmp_path) == ["p"]
    assert sorted(os.listdir(tmp_path / "p")) == ["10.png", "9.png", "a.png", "b.png", "c.png"]
    for name, tile in zip(IDS, TILES, strict=True):
        found = cv2.imread(tmp_path / "p" / f"{name}.png", cv2.IMREAD_UNCHANGED)
        assert (found.dtype, found.shape) == (np.uint8, (101, 101))
        assert abs(found / 255 - tile).max() < 0.501 / 255
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "p").stat().st_mode & 0o777 == 0o777 & ~mask  # as any folder: not its owner's only


def test_a_section_as_array_and_as_image(tmp_path):
    write_section(tmp_path / "p.npy", STEPS)
    write_section(tmp_path / "p.png", STEPS)
    found = np.load(tmp_path / "p.npy", allow_pickle=False)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, STEPS.astype(np.float16))
    image = cv2.imread(tmp_path / "p.png", cv2.IMREAD_UNCHANGED)
    assert (image.dtype, image.tolist()) == (np.uint8, GRAYS)
    refused(lambda: write_section(tmp_path / "p.jpg", STEPS), "p.jpg ends neither with .png nor with .npy")
    assert sorted(os.listdir(tmp_path)) == ["p.npy", "p.png"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, InputError("a tile is bad"), MemoryError])
def test_what_is_interrupted_leaves_nothing(tmp_path, kind, error):
    def interrupted() -> None:
        with writing_probabilities(tmp_path / "p", kind, IDS) as write_next:
            write_next(TILES[:3])
            assert os.listdir(tmp_path) != ["p"]
            raise error

    with pytest.raises(error if isinstance(error, type) else InputError):
        interrupted()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_tiles_too_many_or_others_are_a_defect_and_leave_nothing(tmp_path, kind):
    for parts in ([TILES[:4]], [TILES, TILES[:1]], [TILES[:, :100]], []):
        with pytest.raises(ValueError, match="tiles; there are 5"):  # noqa: PT012, SIM117
            with writing_probabilities(tmp_path / "p", kind, IDS) as write_next:
                for part in parts:
                    write_next(part)
        assert os.listdir(tmp_path) == []


WRITERS = {kind: lambda path, kind=kind: write(path, kind) for kind in KINDS} | {
    f"section {kind}": lambda path: write_section(path, STEPS) for kind in KINDS
}


def named(folder: Path, writer: str) -> Path:
    return folder / f"p.{writer[-3:]}"


@pytest.mark.parametrize("writer", WRITERS)
def test_what_exists_stays(tmp_path, writer):
    path = named(tmp_path, writer)
    for make in (lambda: path.write_text("mine"), path.mkdir, lambda: path.symlink_to("nowhere")):
        make()
        refused(lambda: WRITERS[writer](path), f"{path} exists; move it away or name another")
        assert os.listdir(tmp_path) == [path.name]
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_what_exists_is_said_before_anything_is_predicted(tmp_path, kind):
    (tmp_path / "p").touch()
    refused(writing_probabilities(tmp_path / "p", kind, IDS).__enter__, "p exists; move it away or name another")


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_run_has_made_meanwhile_stays(tmp_path, kind):
    path = tmp_path / "p"

    def overtaken() -> None:
        with writing_probabilities(path, kind, IDS) as write_next:
            write_next(TILES)
            path.mkdir() if kind == "png" else path.write_text("theirs")

    refused(overtaken, str(path))
    assert os.listdir(tmp_path) == ["p"]
    assert path.is_dir() or path.read_text() == "theirs"


@pytest.mark.parametrize("writer", WRITERS)
def test_where_nothing_can_be_written(tmp_path, writer):
    path = named(tmp_path / "none", writer)
    refused(lambda: WRITERS[writer](path), f"cannot write {path}: No such file or directory")
    path.parent.mkdir(mode=0o555)
    with as_ordinary_user():
        refused(lambda: WRITERS[writer](path), f"cannot write {path}: Permission denied")
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_cannot_grow_is_one_line_and_leaves_nothing(tmp_path, writer):
    """A limit of the system's on the size of files stands in for a full disk."""
    path = named(tmp_path, writer)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        refused(lambda: WRITERS[writer](path), f"cannot write {path}: File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_memory_stays_that_of_a_batch(tmp_path, kind):
    """300 tiles are 12 MB in float32 and 6 in float16."""
    batch = np.resize(TILES, (10, 101, 101))
    tracemalloc.start()
    with writing_probabilities(tmp_path / "p", kind, [str(k) for k in range(300)]) as write_next:
        for _ in range(30):
            write_next(batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_500_000
