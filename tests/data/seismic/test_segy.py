"""SEG-Y files: what is read from them, what is refused in one line, and copies that keep every header."""

import contextlib
import os
import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import segyio

from common.errors import InputError
from data.seismic.segy import FLOAT, FORMATS, INT8, Copy, Survey
from tests.helpers.commands import refused
from tests.helpers.segys import BAD_SURVEYS, CROSSLINES, INLINES, amplitudes, grid, patch, volume, write_segy

TRACES = amplitudes(30)
SIZES = {1: 4, 2: 4, 3: 2, 5: 4, 6: 8, 8: 1}  # bytes a sample, by format


# ---- what is read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "endian"), [*product(FORMATS, ("big", "little"))])
def test_every_format_and_byte_order(tmp_path, format, endian):
    survey = Survey(volume(tmp_path / "x.sgy", format=format, endian=endian))
    assert (survey.format, survey.endian, survey.traces, survey.samples) == (format, endian, 30, 40)
    np.testing.assert_array_equal(survey.inlines, INLINES)
    np.testing.assert_array_equal(survey.crosslines, CROSSLINES)
    np.testing.assert_array_equal(survey.read(np.arange(30)), TRACES)


def test_lines_in_both_directions(tmp_path):
    survey = Survey(volume(tmp_path / "x.sgy"))
    inlines, crosslines = survey.lines("inline"), survey.lines("crossline")
    assert [line.name for line in inlines] == [f"inline {number}" for number in INLINES]
    assert [line.name for line in crosslines] == [f"crossline {number}" for number in CROSSLINES]
    cube = TRACES.reshape(6, 5, 40)
    for k, line in enumerate(inlines):
        np.testing.assert_array_equal(survey.read(line.traces), cube[k])
        np.testing.assert_array_equal(line.columns, np.arange(5))
    for k, line in enumerate(crosslines):
        np.testing.assert_array_equal(survey.read(line.traces), cube[:, k])


def test_traces_are_placed_by_their_headers(tmp_path):
    """Shuffled, with a hole, a short line, and a crossline number that no trace has."""
    headers = [h for h in grid(crosslines=(300, 301, 303, 304)) if h != {189: 12, 193: 301}]
    headers = [h for h in headers if h[189] != 14 or h[193] > 301]
    order = np.random.default_rng(1).permutation(len(headers))
    traces = amplitudes(len(headers))
    survey = Survey(write_segy(tmp_path / "x.sgy", [headers[k] for k in order], traces[order]))
    lines = {line.name: line for line in survey.lines("inline")}
    np.testing.assert_array_equal(lines["inline 10"].columns, [0, 1, 2, 3])
    np.testing.assert_array_equal(lines["inline 12"].columns, [0, 2, 3])
    np.testing.assert_array_equal(lines["inline 14"].columns, [2, 3])
    np.testing.assert_array_equal(lines["inline 14"].places, [0, 1])
    assert (lines["inline 14"].width, lines["inline 12"].width) == (2, 4)
    section = lines["inline 12"].section(traces[4:7], 9)
    np.testing.assert_array_equal(section[:, [0, 2, 3]], traces[4:7].T)
    assert (section[:, 1] == 9).all()
    np.testing.assert_array_equal(survey.read(lines["inline 12"].traces), traces[4:7])
    assert sorted(np.concatenate([line.traces for line in survey.lines("crossline")])) == list(range(len(headers)))


@pytest.mark.parametrize("bytes", [(9, 21), (5, 17), (181, 185), (233, 237), (193, 189)])
def test_line_numbers_elsewhere(tmp_path, bytes):
    headers = [dict(zip(bytes, header.values(), strict=True)) for header in grid()]
    path = write_segy(tmp_path / "x.sgy", headers, TRACES)
    survey = Survey(path, inline_byte=bytes[0], crossline_byte=bytes[1])
    assert list(survey.inlines) == list(INLINES)
    if bytes != (193, 189):  # which are right, the other way round
        said = f"--inline_byte={bytes[0]} --crossline_byte={bytes[1]}"
        refused(lambda: Survey(path), said)


@pytest.mark.parametrize(
    "headers",
    [
        [{}] * 30,  # no geometry
        [{21: k} for k in range(30)],  # a stacked line
        [{21: k, 37: k * 25} for k in range(30)],  # with what is left of an offset
        [{189: 7, 193: k} for k in range(30)],  # a single inline
        [{189: k, 193: 900 - k} for k in range(30)],  # across a survey
        [{21: k, 17: k // 2, 181: 50 * k, 185: 20 * k, 9: 1} for k in range(30)],
    ],
)
def test_a_single_line_is_read_in_the_order_of_its_traces(tmp_path, headers):
    survey = Survey(write_segy(tmp_path / "x.sgy", headers, TRACES))
    assert not survey.is_volume
    (line,) = survey.lines("inline")
    np.testing.assert_array_equal(survey.read(line.traces), TRACES)
    np.testing.assert_array_equal(line.columns, np.arange(30))


def test_the_sample_of_traces_is_seeded_and_from_everywhere(tmp_path):
    traces = np.repeat(np.arange(100)[:, None], 9, 1)
    survey = Survey(write_segy(tmp_path / "x.sgy", [{21: k} for k in range(100)], traces))
    drawn = survey.sample(20)[:, 0]
    assert len(np.unique(drawn)) == 20
    assert np.ptp(drawn) > 60
    np.testing.assert_array_equal(drawn, survey.sample(20)[:, 0])
    assert len(survey.sample(1000)) == 100


# ---- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "said"), BAD_SURVEYS.values(), ids=BAD_SURVEYS)
def test_what_is_refused(tmp_path, capfd, make, said):
    make(tmp_path / "x.sgy")
    assert refused(lambda: Survey(tmp_path / "x.sgy"), said).startswith(f"{tmp_path / 'x.sgy'} ")
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_opened(tmp_path):
    path = tmp_path / "x.sgy"
    refused(lambda: Survey(path), f"cannot read {path}: No such file")
    path.mkdir()
    refused(lambda: Survey(path), f"cannot read {path}: Is a directory")
    path.rmdir()
    os.mkfifo(path)
    refused(lambda: Survey(path), f"{path} is a pipe or a device")


@pytest.mark.parametrize("byte", [0, 3, 190, 241, -1])
def test_bytes_that_begin_no_field(tmp_path, byte):
    volume(tmp_path / "x.sgy")
    refused(lambda: Survey(tmp_path / "x.sgy", inline_byte=byte), f"no field of a trace header begins at byte {byte}")


@pytest.mark.parametrize("format", [2, 3, 5, 6])
@pytest.mark.parametrize("endian", ["big", "little"])
def test_samples_in_another_byte_order_than_the_headers(tmp_path, format, endian):
    path = volume(tmp_path / "x.sgy", 200, format=format, endian=endian)
    record = 240 + 40 * SIZES[format]
    content = bytearray(path.read_bytes())
    for at in range(3840, len(content), record):
        samples = np.frombuffer(content[at : at + record - 240], f"V{SIZES[format]}")
        kind = {2: "i4", 3: "i2", 5: "f4", 6: "f8"}[format]
        content[at : at + record - 240] = samples.view(kind).byteswap().tobytes()
    path.write_bytes(content)
    refused(lambda: Survey(path), f"has two byte orders: its headers are {endian}-endian, its samples are not")


def test_headers_that_say_two_byte_orders(tmp_path):
    path = patch(volume(tmp_path / "x.sgy"), 3296, bytes((4, 3, 2, 1)))
    refused(lambda: Survey(path), "has two byte orders: its headers are big-endian, bytes 3297 to 3300")
    assert Survey(patch(path, 3296, bytes((1, 2, 3, 4)))).traces == 30


def test_truncation_and_flipped_bits_give_a_survey_or_one_line(tmp_path, capfd):
    path = volume(tmp_path / "x.sgy")
    good, rng = path.read_bytes(), random.Random(0)
    for trial in range(300):
        damaged = bytearray(good)
        damaged[rng.randrange(3200, 3600 + 240) if trial % 2 else rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        path.write_bytes(good[: rng.randrange(len(good))] if trial % 4 == 0 else damaged)
        with contextlib.suppress(InputError):
            survey = Survey(path)
            assert survey.read(np.arange(survey.traces)).shape == (survey.traces, survey.samples)
    assert capfd.readouterr() == ("", "")


# ---- copies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endian", ["big", "little"])
@pytest.mark.parametrize(("source", "format"), [(1, FLOAT), (3, FLOAT), (8, INT8), (5, INT8)])
def test_a_copy_keeps_all_headers_but_a_line_of_text_and_the_format(tmp_path, endian, source, format):
    path = volume(tmp_path / "x.sgy", format=source, endian=endian)
    survey = Survey(patch(path, 3600 + 232, b"anything"))  # bytes that segyio has no names for
    values = np.random.default_rng(0).integers(0, 2, (30, 40)).astype(np.float32)
    copy = Copy(survey, tmp_path / "y.sgy", format)
    copy.create("a note")
    for part in (np.arange(7, 30), np.arange(7)):
        copy.write(part, values[part])
    np.testing.assert_array_equal(copy.read(np.arange(29, 3, -2)), values[29:3:-2])
    before, after = (path.read_bytes(), (tmp_path / "y.sgy").read_bytes())
    changed = [k for k in range(3600) if before[k] != after[k]]
    assert {k // 80 for k in changed if k < 3200} == {37}
    assert set(range(3200, 3600)) & set(changed) <= {3224, 3225}
    sizes = [240 + 40 * SIZES[f] for f in (source, format)]
    assert len(after) == 3600 + 30 * sizes[1]
    for k in range(30):
        a, b = (3600 + k * size for size in sizes)
        assert before[a : a + 240] == after[b : b + 240]
    with segyio.open(tmp_path / "y.sgy", strict=True, endian=endian) as file:
        np.testing.assert_array_equal(file.trace.raw[:], values)
        np.testing.assert_array_equal(file.ilines, INLINES)
        np.testing.assert_array_equal(segyio.tools.cube(file), values.reshape(6, 5, 40))
        assert b"A NOTE" in bytes(file.text[0])


@pytest.mark.parametrize("code", ["cp037", "ascii"])
def test_the_note_stands_in_an_empty_line(tmp_path, code):
    lines = [f"C{k + 1:2} text {k}".ljust(80) for k in range(40)]
    lines[20] = "C21".ljust(80)
    survey = Survey(patch(volume(tmp_path / "x.sgy"), 0, "".join(lines).encode(code)))
    Copy(survey, tmp_path / "y.sgy", FLOAT).create("a note")
    text = (tmp_path / "y.sgy").read_bytes()[:3200].decode(code)
    found = [text[k : k + 80] for k in range(0, 3200, 80)]
    assert found[20] == "C21 A NOTE".ljust(80)
    assert found[:20] + found[21:] == lines[:20] + lines[21:]


# ---- files of the segyio project -----------------------------------------------------------------------------

REAL = {  # traces, samples, inlines, crosslines; or what is said
    **dict.fromkeys(("f3", "f3-lsb", "format1msb", "format2msb", "format3msb"), (414, 75, 23, 18)),
    **dict.fromkeys(("format5lsb", "format5msb", "format8msb"), (414, 75, 23, 18)),
    **dict.fromkeys(("small", "small-lsb", "normal-small", "inv-acute-small"), (25, 50, 5, 5)),
    "decrement": (5, 4, 0, 0),
    "delay-scalar": (1, 251, 0, 0),
    "long": (3, 60000, 0, 0),
    **dict.fromkeys(("1xN", "Mx1", "small-ps", "shot-gather", "viking_small"), "is pre-stack: gathers"),
    "broken": "is truncated, or its headers say another length",
    "text": "has no traces",
}


@pytest.fixture(scope="session")
def real_segy() -> Path:
    """The folder of small files of the segyio project."""
    folder = Path(os.environ.get("TGS_SEGY", ""))
    if not (os.environ.get("TGS_SEGY") and (folder / "f3.sgy").is_file()):
        pytest.skip("TGS_SEGY names no folder with the segyio project's test files")
    return folder


@pytest.mark.parametrize(("name", "found"), REAL.items(), ids=REAL)
def test_real_files(real_segy, capfd, name, found):
    path = real_segy / f"{name}.{'segy' if name == 'viking_small' else 'sgy'}"
    if isinstance(found, str):
        refused(lambda: Survey(path), found)
    else:
        survey = Survey(path)
        assert (survey.traces, survey.samples, len(survey.inlines), len(survey.crosslines)) == found
        assert np.isfinite(survey.read(np.arange(survey.traces))).all()
    assert capfd.readouterr() == ("", "")


def test_f3_is_the_same_in_every_format(real_segy):
    names = ("f3-lsb", "format1msb", "format2msb", "format3msb", "format5lsb", "format5msb")
    everything = np.arange(414)
    f3 = Survey(real_segy / "f3.sgy").read(everything)
    for name in names:
        np.testing.assert_array_equal(Survey(real_segy / f"{name}.sgy").read(everything), f3)
