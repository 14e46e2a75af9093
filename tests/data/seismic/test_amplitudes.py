"""Amplitudes: what in them means nothing, that it takes no part in the stretch, and that real amplitudes all do."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from data.seismic.amplitudes import CLIPPED, Stretch, describe_gray, describe_nothing, find_nothing

RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 1000, (300, 202))
PART = np.zeros(NOISE.shape, bool)  # of some traces: below a survey's floor, above a mute
PART[200:, 20:50] = True
TRACES = np.zeros(NOISE.shape, bool)
TRACES[:, [3, 90, 91]] = True


def stretched_as_before(values: np.ndarray) -> np.ndarray:
    """The definition for amplitudes that all mean something."""
    black, white = np.percentile(values.astype(np.float64), CLIPPED)
    return np.interp(values, (black, white), (0, 255)).round().astype(np.uint8)


FILLED = {
    "1e30": (1e30, "f4", TRACES, (float(np.float32(1e30)),)),
    "-1e30 in parts": (-1e30, "f8", PART, (-1e30,)),
    "the largest float32": (np.finfo("f4").max, "f4", PART, (float(np.finfo("f4").max),)),
    "the largest float64": (np.finfo("f8").max, "f8", PART, ()),
    "-32768": (-32768, "i2", TRACES, (-32768.0,)),
    "-32768 in parts": (-32768, ">i2", PART, (-32768.0,)),
    "-2147483648": (-(2**31), "i4", PART, (-(2.0**31),)),
    "65535": (65535, "u2", PART, (65535.0,)),
    "-999.25 among the amplitudes": (-999.25, "f4", PART, (-999.25,)),
    "-9999 in all of a trace, not far out": (-9999, "f4", TRACES, ()),
    "of no name": (123456.5, "f4", PART, (123456.5,)),
    "NaN": (np.nan, "f4", PART, ()),
    "NaN traces": (np.nan, "f2", TRACES, ()),
    "infinite": (-np.inf, "f8", PART, ()),
    "dead traces of 0": (0, "i2", TRACES, ()),
    "dead traces of another value": (812.5, "f4", TRACES, ()),
    "dead traces, 8 bits": (0, "i1", TRACES, ()),
}


@pytest.mark.parametrize(("fill", "kind", "where", "fills"), FILLED.values(), ids=FILLED)
def test_what_means_nothing_is_found_and_takes_no_part(fill, kind, where, fills):
    """The other samples are as gray as if the filled ones were not there."""
    values = (NOISE / 50 if kind == "i1" else NOISE + (20_000 if kind == "u2" else 0)).astype(kind)
    expected = np.interp(values, np.percentile(values[~where].astype(float), CLIPPED), (0, 255)).round()
    values[where] = fill
    stretch = Stretch.fit(values)
    gray, nothing = stretch.gray(values)
    assert stretch.fills == fills
    np.testing.assert_array_equal(nothing, where)
    np.testing.assert_array_equal(gray[~where], expected[~where])
    assert set(gray[where].tolist()) == {stretch.blank}
    assert 100 < stretch.blank < 155
    said = describe_nothing(nothing, stretch.fills)
    assert said.startswith(f"{where.mean():.2%} of it means nothing (")
    assert ("3 of 202 traces" in said) == (where is TRACES)
    assert "infinite" not in said or not np.isfinite(fill) or abs(fill) > 1e300


def test_several_kinds_at_once_and_a_spike_in_front_of_a_fill_value():
    values = NOISE.astype("f4")
    values[PART], values[:, 7], values[:, 9], values[5, 100:140] = 1e30, np.nan, 0, -1e30
    values[3, 3] = 3e35  # not repeated: a spike, as they occur
    stretch = Stretch.fit(values)
    assert sorted(stretch.fills) == [float(np.float32(-1e30)), float(np.float32(1e30))]
    gray, nothing = stretch.gray(values)
    assert np.count_nonzero(nothing) == PART.sum() + 600 + 40
    assert gray[3, 3] == 255
    assert not nothing[3, 3]


def test_a_stretch_fitted_once_serves_line_by_line():
    """As a volume is read: fitted on some traces, each line alone gives what all at once give."""
    values = NOISE.astype("f4")
    values[PART], values[:, 150] = -999.25, 0
    stretch = Stretch.fit(values[:, ::3])
    whole = stretch.gray(values)
    for start in range(0, values.shape[1], 40):
        for part, all_ in zip(stretch.gray(values[:, start : start + 40]), whole, strict=True):
            np.testing.assert_array_equal(part, all_[:, start : start + 40])
    assert Stretch(stretch.low, stretch.high, stretch.blank, stretch.fills) == stretch


def test_a_large_section_is_looked_at_whole(monkeypatch):
    monkeypatch.setattr("data.seismic.amplitudes.SAMPLED", 5000)
    monkeypatch.setattr("data.seismic.amplitudes.BLOCK", 20_000)
    values = NOISE.astype("f4")
    values[PART], values[:, 180] = 1e30, 0
    gray, nothing = Stretch.fit(values).gray(values)
    assert np.count_nonzero(nothing) == PART.sum() + 300
    assert 45 < gray[~nothing].std() < 55


# ---- what is real stays what it was --------------------------------------------------------------------------

SMOOTH = np.sin(np.arange(300)[:, None] / 20 + RNG.random(202))  # 126 samples a period
REAL = {
    "float32 noise": NOISE.astype("f4"),
    "float16 noise": NOISE.astype("f2"),
    "int16 noise": NOISE.astype("i2"),
    "big-endian": NOISE.astype(">i2"),
    "int8, clipped at both ends": np.clip(NOISE / 10, -128, 127).astype("i1"),
    "int16, clipped at both ends": np.clip(NOISE * 30, -32768, 32767).astype("i2"),
    "smooth, clipped at -32768": np.clip(40_000 * SMOOTH, -32768, 32767).astype("i2"),
    "smooth, clipped at -999": np.maximum(1500 * SMOOTH, -999).astype("f4"),
    "whole numbers as floats": NOISE.round().astype("f4"),
    "heavy tails": (NOISE / 1000).astype("f8").astype("f4") ** 9,
    "16 bits of 8": (RNG.integers(0, 256, (300, 202)) * 257).astype("u2"),
    "one spike": np.where(NOISE[7, 7] == NOISE, 1e9, NOISE).astype("f4"),
    "muted above": np.where(np.arange(300)[:, None] < 40, 0, NOISE).astype("f4"),
    "a trace of one value shorter than is judged": np.zeros((7, 30), "f4"),
}


@pytest.mark.parametrize("values", REAL.values(), ids=REAL)
def test_real_amplitudes_mean_something_and_keep_their_gray_bit_for_bit(values):
    stretch = Stretch.fit(values)
    gray, nothing = stretch.gray(values)
    assert stretch.fills == ()
    assert not nothing.any()
    assert describe_nothing(nothing) == ""
    if np.ptp(values):
        np.testing.assert_array_equal(gray, stretched_as_before(values))


def test_real_surveys_mean_something():
    """Lines of F3 and a marine gather, in every sample format: no sample is called nothing, no picture one gray."""
    folder = Path(os.environ.get("TGS_SEGY", ""))
    if not (os.environ.get("TGS_SEGY") and (folder / "f3.sgy").is_file()):
        pytest.skip("TGS_SEGY names no folder with f3.sgy")
    import segyio

    for name in ("f3.sgy", "format1msb.sgy", "format2msb.sgy", "format5msb.sgy", "format8msb.sgy", "viking_small.segy"):
        with segyio.open(folder / name, ignore_geometry=True) as file:
            values = file.trace.raw[:].T
        stretch = Stretch.fit(values)
        gray, nothing = stretch.gray(values)
        assert not nothing.any(), name
        assert describe_gray(gray, nothing) == "", name
        np.testing.assert_array_equal(gray, stretched_as_before(values))


# ---- precision, and pictures of one gray ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["f8", "i4", "i8", "u4"])
def test_an_offset_costs_no_precision(kind):
    """Amplitudes around 1e9, of a few units: float32 has steps of 64 there."""
    values = (NOISE / 10).round()
    gray, nothing = Stretch.fit(values).gray(values)
    offset = (values + 1e9).astype(kind)
    assert not nothing.any()
    np.testing.assert_array_equal(Stretch.fit(offset).gray(offset)[0], gray)
    assert len(np.unique(gray)) > 200


@pytest.mark.parametrize(
    "values", [NOISE * 1e-300, NOISE * 1e-315, np.eye(9) * 5e-324, NOISE * 1e290, NOISE + 1e17, NOISE * 1e299]
)
def test_extreme_units_neither_warn_nor_are_called_infinite(values):
    with warnings.catch_warnings(action="error"):
        gray, _ = Stretch.fit(values).gray(values)
    assert gray.dtype == np.uint8


def test_nan_of_every_kind_is_nothing_and_no_warning():
    """A signalling NaN, as damaged files have it: numpy warns when it changes its type."""
    values = NOISE.astype("f4")
    values.view(np.uint32)[PART] = 0x7F800001
    with warnings.catch_warnings(action="error"):
        gray, nothing = Stretch.fit(values).gray(values)
    np.testing.assert_array_equal(nothing, PART)
    assert gray.dtype == np.uint8


def test_a_section_that_is_nearly_one_gray_is_said():
    values = NOISE.astype("f4")
    values[::9, ::9] *= 300  # 1.3 % of the samples out of proportion, all different
    gray, nothing = Stretch.fit(values).gray(values)
    assert not nothing.any()
    assert "nine tenths of it are within" in describe_gray(gray, nothing)
    for whole in (np.zeros((9, 9), bool), np.ones((9, 9), bool)):
        assert bool(describe_gray(np.full((9, 9), 7, np.uint8), whole)) == (not whole.any())


def test_a_dead_section_means_nothing_and_is_black():
    values = np.full((20, 30), 7.5)
    gray, nothing = Stretch.fit(values).gray(values)
    assert nothing.all()
    assert not gray.any()
    assert describe_nothing(nothing) == "100.00% of it means nothing (30 of 30 traces) and is masked as no salt"
    assert find_nothing(np.zeros((5, 0))).shape == (5, 0)
