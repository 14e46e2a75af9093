"""Windows over a section: that they cover, blend without seams, and cost what they should."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.windows import count_windows, predict_section
from tests.helpers.commands import ROOT
from tests.helpers.machine import slowdown
from tests.helpers.pngs import png

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "tile", "overlap", "count"),
    [
        ((101, 101), 101, 0.5, 1),
        ((1, 1), 101, 0.5, 1),
        ((202, 303), 101, 0, 6),  # side by side
        ((203, 303), 101, 0, 9),  # one more row for one more line
        ((201, 101), 101, 0.5, 3),  # rows at 0, 50, 100
        ((202, 101), 101, 0.5, 4),  # 0, 34, 67, 101
        ((111, 131), 101, 0.9, 2 * 4),  # steps of 10
        ((202, 404), 202, 0.5, 3),  # columns at 0, 101, 202
    ],
)
def test_windows_counted_by_hand(shape, tile, overlap, count):
    assert count_windows(shape, tile, overlap) == count
    told, batches = [], []

    def predict(images: np.ndarray) -> np.ndarray:
        assert (images.dtype, images.shape[1:]) == (np.uint8, (101, 101))
        batches.append(len(images))
        return np.zeros(images.shape, np.float32)

    predict_section(np.zeros(shape, np.uint8), predict, tile=tile, overlap=overlap, batch_size=4, progress=told.append)
    assert sum(batches) == count
    assert told == batches
    assert batches[:-1] == [4] * (len(batches) - 1)


def brightness(images: np.ndarray) -> np.ndarray:
    """A network that takes light for salt, whatever is beside it."""
    return images.astype(np.float32) / 255


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(1, 400), st.floats(0, 0.9))
@example(1, 1, 0.5)
@example(1, 400, 0.0)
@example(102, 101, 0.9)
def test_a_window_s_own_prediction_comes_back_at_every_pixel(height, width, overlap):
    """Where every window predicts the same of a pixel, so does the section: none is missed, moved or counted twice."""
    section = np.random.default_rng(height * width).integers(0, 256, (height, width), np.uint8)
    got = predict_section(section, brightness, overlap=overlap)
    assert (got.dtype, got.shape) == (np.float32, section.shape)
    np.testing.assert_allclose(got, section / 255, rtol=0, atol=1e-5)


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(1, 400), st.floats(0, 0.9), st.integers(10, 300))
def test_windows_of_any_size_cover_every_pixel_with_weights_that_add_up_to_one(height, width, overlap, tile):
    got = predict_section(
        np.zeros((height, width), np.uint8),
        lambda images: np.full(images.shape, 0.75, np.float32),
        tile=tile,
        overlap=overlap,
    )
    np.testing.assert_allclose(got, 0.75, rtol=0, atol=1e-5)


def test_a_section_of_one_tile_is_predicted_as_this_tile_bit_by_bit():
    tile = RNG.integers(0, 256, (101, 101), np.uint8)
    probabilities = RNG.random((1, 101, 101), np.float32)
    got = predict_section(tile, lambda images: probabilities if (images == tile).all() else None)
    assert got.tobytes() == probabilities.tobytes()


def test_a_small_section_is_reflected_until_it_fills_a_window():
    seen = []
    section = np.array([[1, 2, 3]], np.uint8)
    got = predict_section(section, lambda images: seen.append(images) or brightness(images))
    assert seen[0].shape == (1, 101, 101)
    assert (seen[0][0] == seen[0][0, 0]).all()  # one line: all lines
    assert seen[0][0, 50, 46:54].tolist() == [2, 3, 2, 1, 2, 3, 2, 1]  # its three pixels are at 49 to 51
    np.testing.assert_allclose(got, section / 255, atol=1e-6)


def largest_jump(values: np.ndarray) -> float:
    return max(abs(np.diff(values, axis=axis)).max() for axis in (0, 1))


def test_windows_that_disagree_are_blended_without_seams():
    """Every other window says 0, the others 1: side by side that is a step of 1 from a pixel to the next."""

    def disagree(images: np.ndarray) -> np.ndarray:
        nonlocal seen
        windows = np.arange(seen, seen + len(images))
        seen += len(images)
        return np.ones(images.shape, np.float32) * (windows % 2)[:, None, None]

    jumps = {}
    for overlap in (0, 0.25, 0.5, 0.75):
        seen = 0
        jumps[overlap] = largest_jump(predict_section(np.zeros((505, 505), np.uint8), disagree, overlap=overlap))
    print({overlap: round(jump, 3) for overlap, jump in jumps.items()})
    assert jumps[0] == 1
    assert jumps[0.5] < 0.04  # a raised cosine's steepest step between two windows: pi / 101 = 0.031
    assert jumps[0.25] < 0.1
    assert jumps[0.75] < jumps[0.5]


def test_a_window_counts_little_near_its_border():
    """Where a network sees least around a pixel, its neighbours' windows see more: 0.2 % is left of a false border."""

    def false_border(images: np.ndarray) -> np.ndarray:
        probabilities = np.zeros(images.shape, np.float32)
        probabilities[:, [0, -1]] = probabilities[:, :, [0, -1]] = 1
        return probabilities

    inside = predict_section(np.zeros((505, 505), np.uint8), false_border)[1:-1, 1:-1]
    assert 0 < inside.max() < 2e-3


def smooth_section(side: int) -> np.ndarray:
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    return (127 + 60 * np.sin(9 * y + 4 * x) + 60 * np.cos(11 * x - 3 * y)).astype(np.uint8)


def test_an_enlarged_section_with_enlarged_windows_is_predicted_alike():
    """What a window is scaled to is what the network has learnt on: the section at twice its pixels, at tile=202."""

    def edges(images: np.ndarray) -> np.ndarray:  # depends on the scale: how much brighter it is 5 pixels further
        return np.clip(0.5 + (np.roll(images.astype(np.float32), 5, axis=2) - images) / 100, 0, 1)

    original = predict_section(smooth_section(256), edges)
    alike = predict_section(smooth_section(512), edges, tile=202)
    other = predict_section(smooth_section(512), edges)
    inside = np.s_[8:-8, 8:-8]
    at_original = alike.reshape(256, 2, 256, 2).mean(axis=(1, 3))
    assert abs(at_original - original)[inside].max() < 0.02
    assert abs(other.reshape(256, 2, 256, 2).mean(axis=(1, 3)) - original)[inside].max() > 0.1
    halved = predict_section(smooth_section(128), edges, tile=50, overlap=0.6)
    assert abs(halved - original.reshape(128, 2, 128, 2).mean(axis=(1, 3)))[4:-4, 4:-4].max() < 0.05


# ---- large sections ----------------------------------------------------------------------------------------

LARGE = """
import re, sys, time
import numpy as np
from data.seismic.sections import read_section
from data.probabilities import write_section
from models.windows import predict_section
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
started = peak()
section = read_section(sys.argv[1])
constant = np.full((64, 101, 101), 0.5, np.float32)
began = time.perf_counter()
probabilities = predict_section(section, lambda images: constant[: len(images)])
seconds = time.perf_counter() - began
assert probabilities.shape == section.shape and abs(probabilities - 0.5).max() < 1e-5
del section
for out in sys.argv[2:]:
    write_section(out, probabilities)
print(seconds, (peak() - started) / 1e6)
"""


def measured(path, *outs) -> tuple[float, float]:
    """Seconds that predict_section takes around a network that takes none, and gigabytes for reading, that, writing."""
    program = [sys.executable, "-c", LARGE, path, *outs]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    seconds, gigabytes = map(float, done.stdout.split())
    print(f"{path.name}: {seconds:.1f} s, {gigabytes:.2f} GB")
    return seconds, gigabytes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "16-bit png", "npy"])
def test_a_section_of_100_megapixels_takes_less_than_1_5_gigabytes(tmp_path, kind):
    path = tmp_path / f"x.{kind[-3:]}"
    line = RNG.integers(0, 256, (1, 10_000), np.uint8)
    section = np.broadcast_to(line, (10_000, 10_000))
    if kind == "npy":
        np.save(path, section.astype(np.float32))
    else:
        path.write_bytes(png(section.astype(np.uint16) * 257 if "16" in kind else section))
    _, gigabytes = measured(path, tmp_path / "out.npy", tmp_path / "out.png")
    assert gigabytes < 1.5


def test_the_work_around_the_network_is_a_second_for_five_megapixels(tmp_path):
    section = np.broadcast_to(RNG.integers(0, 256, (1, 2500), np.uint8), (2000, 2500))
    began = time.perf_counter()
    predict_section(section, brightness)
    assert time.perf_counter() - began < 5 * slowdown()  # 0.3 wanted
