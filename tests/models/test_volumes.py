"""Predicting surveys: each line as a section, the same bytes however the work is shared, stopped and gone on with."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest

from common.errors import InputError
from common.ring.single import SingleProcess
from data.seismic.segy import Survey
from models import volumes
from models.volumes import predict_lines
from models.walk import Walk
from models.windows import predict_section
from tests.helpers.commands import refused
from tests.helpers.segys import amplitudes, grid, write_segy

TILE = 16
SHAPE = (18, 21, 40)  # inlines, crosslines, samples


def bright(images: np.ndarray) -> np.ndarray:
    """A network: salt where a tile is bright."""
    return images.astype(np.float32) / 255


def ensemble(predict=bright, threshold: float = 0.5, min_area: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        name="tiny_2_folds", predictor=predict, threshold=threshold, min_area=min_area, note={}, recipes=[]
    )


ALONE = SingleProcess()


class Rank(SingleProcess):
    """A rank of a ring of threads."""

    def __init__(self, rank: int, barrier: Barrier, said: list):
        self.rank, self.size, self.barrier, self.said, self.calls = rank, barrier.parties, barrier, said, 0

    def on_chief(self, job, *args):
        if self.chief:
            self.said.append(job(*args))
        self.barrier.wait()
        self.calls += 1
        return self.said[self.calls - 1]

    def on_all(self, job, *args):
        self.barrier.wait()
        return job(*args)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    headers = grid(range(SHAPE[0]), range(100, 100 + SHAPE[1]))
    rng = np.random.default_rng(0)
    traces = amplitudes(len(headers)) + rng.normal(0, 20, (len(headers), SHAPE[2]))
    return write_segy(tmp_path / "survey.sgy", headers, traces)


def walk(path: Path, slices: str = "inline", **kwargs) -> Walk:
    settings = {"tile": TILE, "overlap": 0.5, "batch_size": 4} | kwargs
    return Walk(Survey(path), slices=slices, **settings)


def run(path: Path, folder: Path, slices: str = "inline", *, size: int = 1, mask: bool = True, predict=bright) -> dict:
    """Predict a survey by `size` ranks; returns the contents of what is written, by name."""
    found, barrier, said = ensemble(predict), Barrier(size, timeout=60), []

    def work(rank: int) -> None:
        with ExitStack() as stack:
            ring = Rank(rank, barrier, said)
            left = predict_lines(walk(path, slices), found, folder, ring, stack, flags={}, mask=mask)
            if rank == 0:
                left.finish(folder / "x", array=True)

    with ThreadPoolExecutor(size) as pool:
        list(pool.map(work, range(size)))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def cube(path: Path) -> np.ndarray:
    survey = Survey(path)
    return survey.read(np.arange(survey.traces)).reshape(SHAPE)


# ---- what a line is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["inline", "crossline"])
def test_a_line_is_a_section_with_the_volume_s_stretch(path, direction):
    way = walk(path, direction)
    line = way.lines[direction][7]
    traces = way.survey.read(line.traces)
    gray = np.interp(traces.T, (way.stretch.low, way.stretch.high), (0, 255)).round().astype(np.uint8)
    expected = predict_section(gray, bright, tile=TILE, overlap=0.5, batch_size=way.batch_size)
    np.testing.assert_array_equal(way.predict(line, bright)[0], expected.T)


def test_both_is_the_mean_of_the_two_directions(path, tmp_path):
    found = {}
    for slices in ("inline", "crossline", "both"):
        (tmp_path / slices).mkdir()
        run(path, tmp_path / slices, slices)
        found[slices] = cube(tmp_path / slices / "x_salt.sgy")
        assert found[slices].std() > 0.05
    assert not np.array_equal(found["inline"], found["crossline"])
    np.testing.assert_allclose(found["both"], (found["inline"] + found["crossline"]) / 2, atol=1e-7)


def test_mask_and_array_are_those_of_the_probabilities(path, tmp_path):
    (tmp_path / "out").mkdir()
    run(path, tmp_path / "out", "both")
    salt = cube(tmp_path / "out/x_salt.sgy")
    np.testing.assert_array_equal(cube(tmp_path / "out/x_mask.sgy"), salt > 0.5)
    np.testing.assert_array_equal(np.load(tmp_path / "out/x_probabilities.npy"), salt.astype(np.float16))


def test_small_patches_are_left_out_of_the_mask(path, tmp_path):
    for area in (0, 10**6):
        with ExitStack() as stack:
            found = ensemble(min_area=area)
            left = predict_lines(
                walk(path), found, tmp_path / "out", SingleProcess(), stack, flags={"area": area}, mask=True
            )
            assert (left.counts()["salt"] > 0) == (area == 0)


def test_what_means_nothing_is_no_salt(tmp_path):
    """A null trace, a dead one, NaN within one, and a trace that is missing."""
    headers = grid(range(18), range(100, 121))
    traces = amplitudes(len(headers)) + np.random.default_rng(0).normal(0, 20, (len(headers), 40))
    traces[5], traces[50], traces[100, 7:9] = 1e30, 3.5, np.nan
    del headers[200]
    path = write_segy(tmp_path / "x.sgy", headers, np.delete(traces, 200, 0))
    (tmp_path / "out").mkdir()
    bright_everywhere = lambda images: np.full(images.shape, 0.9, np.float32)  # noqa: E731
    with ExitStack() as stack:
        found = ensemble(bright_everywhere)
        left = predict_lines(walk(path, "both"), found, tmp_path / "out", SingleProcess(), stack, flags={}, mask=True)
        assert left.counts() == {"done": 21, "salt": 377 * 40 - 82, "nothing": 82, "dead": 2}
        left.finish(tmp_path / "out/x", array=True)
    survey = Survey(tmp_path / "out/x_salt.sgy")
    salt = survey.read(np.arange(377))
    expected = np.full(salt.shape, 0.9)
    expected[[5, 50]] = expected[100, 7:9] = 0
    np.testing.assert_allclose(salt, expected, atol=1e-5)
    array = np.load(tmp_path / "out/x_probabilities.npy")
    assert array.shape == (18, 21, 40)
    assert (array.reshape(378, 40)[200] == 0).all()


def test_a_single_line(tmp_path):
    path = write_segy(tmp_path / "x.sgy", [{21: k} for k in range(90)], amplitudes(90))
    (tmp_path / "out").mkdir()
    run(path, tmp_path / "out")
    assert np.load(tmp_path / "out/x_probabilities.npy").shape == (90, 40)
    refused(lambda: walk(path, "both"), "is a single line, without inlines and crosslines; leave out --slices")


@pytest.mark.parametrize(("slices", "tile", "width"), [("inline", 22, 21), ("both", 20, 18), ("crossline", 41, 18)])
def test_a_survey_smaller_than_a_window(path, slices, tile, width):
    said = f"is smaller than a window of {tile}: its sections have {width} traces of 40 samples; give a smaller --tile"
    refused(lambda: walk(path, slices, tile=tile), said)


@pytest.mark.parametrize("value", [0, 1e30, np.nan])
def test_a_survey_that_means_nothing(tmp_path, value):
    headers = grid(range(18), range(18))
    path = write_segy(tmp_path / "x.sgy", headers, np.full((len(headers), 40), value))
    refused(lambda: walk(path), "has no amplitudes: all that is sampled is dead, a fill value or NaN")


def test_few_windows_are_computed_twice(path):
    """A last batch is filled up; the 4 x 2 windows of a line make two batches of 4, not one of 5 and half of one."""
    assert walk(path, batch_size=5).batch_size == 4
    assert walk(path, batch_size=64).batch_size == 8


# ---- the same bytes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slices", ["inline", "both"])
def test_any_number_of_ranks_writes_the_same_bytes(path, tmp_path, slices):
    contents = []
    for size in (1, 2, 3):
        (tmp_path / str(size)).mkdir()
        contents.append(run(path, tmp_path / str(size), slices, size=size))
    assert set(contents[0]) == {"x_salt.sgy", "x_mask.sgy", "x_lines.png", "x_probabilities.npy"}
    assert contents[1] == contents[0]
    assert contents[2] == contents[0]


class Stop(Exception):
    pass


@pytest.mark.parametrize("slices", ["inline", "both"])
@pytest.mark.parametrize("stopped", [0, 7, 29, 60, 80])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(path, tmp_path, monkeypatch, slices, stopped):
    """By an exception after so many batches, the first time; what was done is not computed again."""
    (tmp_path / "whole").mkdir()
    whole = run(path, tmp_path / "whole", slices)
    calls, broken = 0, True

    def stops(images: np.ndarray) -> np.ndarray:
        nonlocal calls
        if broken and calls == stopped:
            raise Stop
        calls += 1
        return bright(images)

    (tmp_path / "stopped").mkdir()
    monkeypatch.setattr(volumes, "SYNC", 0)
    batches = {"inline": 36, "both": 78}[slices]  # two a line
    try:
        first = run(path, tmp_path / "stopped", slices, predict=stops)
        assert stopped >= batches
        assert first == whole
    except Stop:
        assert [p.name[:12] for p in (tmp_path / "stopped").iterdir()] == [".unfinished_"]
        broken = False
        assert run(path, tmp_path / "stopped", slices, predict=stops) == whole
        under_way = 2 * len(os.sched_getaffinity(0))
        assert batches <= calls <= batches + under_way


def test_another_key_begins_anew(path, tmp_path):
    for key in (1, 2):
        with ExitStack() as stack:
            predict_lines(
                walk(path), ensemble(), tmp_path / "out", SingleProcess(), stack, flags={"key": key}, mask=False
            )
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_two_runs_at_once_are_refused(path, tmp_path):
    with ExitStack() as stack, ExitStack() as other:
        settings = {"flags": {}, "mask": False}
        predict_lines(walk(path), ensemble(), tmp_path / "out", SingleProcess(), stack, **settings)
        refused(
            lambda: predict_lines(walk(path), ensemble(), tmp_path / "out", SingleProcess(), other, **settings),
            "is in use by process",
        )


# ---- the disk ------------------------------------------------------------------------------------------------


def test_a_disk_that_has_not_enough_room_gets_nothing(path, tmp_path, monkeypatch):
    def full(file: int, at: int, size: int):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"cannot write \S+/out: No space left on device; make room"):
        run(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_leaves_what_is_done(path, tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    whole = run(path, tmp_path / "whole")
    real, calls = os.pwrite, 0

    def pwrite(file: int, content: bytes, at: int) -> int:
        nonlocal calls
        calls += 1
        return real(file, content, at) if calls != 333 else 5

    monkeypatch.setattr(os, "pwrite", pwrite)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="No space left on device; the same command goes on"):
        run(path, tmp_path / "out")
    assert [p.name[:12] for p in (tmp_path / "out").iterdir()] == [".unfinished_"]
    assert run(path, tmp_path / "out") == whole
