"""Reading sections: which files, how their values become gray, and that every other file is named in one line."""

import contextlib
import io
import os
import random
import warnings
import zlib

import numpy as np
import pytest

from common.errors import InputError
from data.seismic.sections import read_section
from tests.helpers.commands import refused
from tests.helpers.pngs import PALETTE_TYPE, RGB_TYPE, RGBA_TYPE, build, chunk, png

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (40, 250), np.uint8)


def npy(values: np.ndarray, **kwargs) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **kwargs)
    return file.getvalue()


def npz(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, values, values)
    return file.getvalue()


class Touch:
    """Unpickled, it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


def headed(shape: object, descr: object = "<f4") -> bytes:
    """An .npy of 400 bytes of zeros that declares what it likes."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode() + bytes(400)


# ---- reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 1), (101, 101), (250, 40)])
@pytest.mark.parametrize("ending", ["png", "npy", "NPY"])
def test_eight_bits_are_taken_as_they_are(tmp_path, capfd, shape, ending):
    pixels = RNG.integers(0, 256, shape, np.uint8)
    path = tmp_path / f"x.{ending}"
    path.write_bytes(png(pixels) if ending == "png" else npy(pixels))
    section = read_section(path)
    assert (section.dtype, section.shape) == (np.uint8, shape)
    np.testing.assert_array_equal(section, pixels)
    assert capfd.readouterr() == ("", "")


def test_three_equal_channels_are_gray(tmp_path):
    (tmp_path / "x.png").write_bytes(png(np.stack([GRAY] * 3, axis=-1), RGB_TYPE))
    np.testing.assert_array_equal(read_section(tmp_path / "x.png"), GRAY)


RAMP = np.arange(1001).reshape(7, 143)  # its 0.5th percentile is 5, its 99.5th 995
STRETCHED = np.clip((RAMP - 5) / 990 * 255, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.png", png(RAMP.astype(np.uint16))),
        ("x.png", png(np.stack([RAMP.astype(np.uint16)] * 3, axis=-1), RGB_TYPE)),
        *(("x.npy", npy(RAMP.astype(kind))) for kind in ("<u2", ">i2", "<i8", "<f2", "<f4", ">f8")),
        ("x.npy", npy(np.asfortranarray(RAMP))),
        ("x.npy", npy(RAMP) + b"bytes behind the end"),
        ("x.npy", npy(RAMP * 1e-9 - 3e-7)),
        ("x.npy", npy(RAMP * 1e35)),
    ],
)
def test_amplitudes_are_stretched_between_their_percentiles(tmp_path, capfd, name, content):
    """16-bit PNG or .npy of any type, unit and order: the same gray values, worked out above."""
    (tmp_path / name).write_bytes(content)
    section = read_section(tmp_path / name)
    assert section.dtype == np.uint8
    difference = section.astype(int) - STRETCHED
    assert abs(difference).max() <= 1  # float32 may round a half the other way
    assert (difference != 0).mean() < 0.02
    assert (section[0, :6] == 0).all()  # 0 to 5
    assert (section[-1, -6:] == 255).all()  # 995 to 1000
    assert capfd.readouterr() == ("", "")


def test_a_header_of_python_2_is_read_without_a_warning(tmp_path):
    (tmp_path / "x.npy").write_bytes(headed("(10L, 10L)"))
    with warnings.catch_warnings(action="error"):
        assert read_section(tmp_path / "x.npy").shape == (10, 10)


def test_spikes_do_not_gray_the_rest_and_a_dead_section_is_black(tmp_path):
    values = RNG.normal(size=(200, 200))
    values[3, 4] = 1e9
    np.save(tmp_path / "x.npy", values)
    assert 45 < read_section(tmp_path / "x.npy").std() < 55  # 255 over the 5.2 deviations between the percentiles: 49.5
    np.save(tmp_path / "x.npy", np.full((20, 30), 7.5))
    assert (read_section(tmp_path / "x.npy") == 0).all()


def test_a_large_section_s_percentiles_are_those_of_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr("data.seismic.amplitudes.SAMPLED", 20_000)
    values = RNG.uniform(-1, 1, (500, 700))
    np.save(tmp_path / "x.npy", values)
    expected = np.clip((values + 0.99) / 1.98 * 255, 0, 255)
    assert abs(read_section(tmp_path / "x.npy") - expected).max() < 1.5


BOMB = build([], data=zlib.compress(bytes(30_000_000)), width=1000, height=1000)
REFUSED = {
    "x.png: empty": (b"", "is empty"),
    "x.png: an .npy": (npy(GRAY), "is not a PNG"),
    "x.png: truncated": (png(GRAY)[:-20], "is truncated"),
    "x.png: colour": (png(np.stack([GRAY, GRAY, 255 - GRAY], -1), RGB_TYPE), "is in colour; sections are gray"),
    "x.png: alpha": (png(np.stack([GRAY] * 4, -1), RGBA_TYPE), "has an alpha channel; sections are gray"),
    "x.png: palette": (png(GRAY, PALETTE_TYPE), "has a palette"),
    "x.png: 1 bit": (build([b"\0\0"] * 3, width=8, height=3, depth=1), "has 1 bits a pixel; sections are 8- or 16-bit"),
    "x.png: no pixels": (build([], width=0, height=5), "is 0x5 pixels; sections have 1 to 200,000,000"),
    "x.png: too many": (png(GRAY, width=20_000, height=10_001), "is 20000x10001 pixels"),
    "x.png: too long": (png(GRAY, width=1_000_001, height=1), "is 1000001x1 pixels"),
    "x.png: a bomb": (BOMB, "too few or too many pixels"),
    "x.npy: empty": (b"", "is no .npy"),
    "x.npy: a PNG": (png(GRAY), "is no .npy"),
    "x.npy: an .npz": (b"PK\3\4" + bytes(100), "is no .npy"),
    "x.npy: several arrays": (npz(GRAY), "is no .npy but a zip of several"),
    "x.npy: a pickle": (b"\x80\4" + bytes(100), "is no .npy"),
    "x.npy: objects": (npy(np.array([[Touch()]]), allow_pickle=True), "is no .npy, or is truncated (Array"),
    "x.npy: words": (npy(np.array([["a", "b"]])), "holds values of type <U1"),
    "x.npy: complex": (npy(GRAY * 1j), "holds values of type complex128"),
    "x.npy: truths": (npy(GRAY > 9), "holds values of type bool"),
    "x.npy: records": (npy(np.zeros((2, 2), [("a", "f4"), ("b", "i4")])), "holds values of type ["),
    "x.npy: three dimensions": (npy(np.zeros((3, 4, 5))), "has the shape (3, 4, 5); sections have two dimensions"),
    "x.npy: one dimension": (npy(np.zeros(3)), "has the shape (3,)"),
    "x.npy: no pixels": (npy(np.zeros((0, 4))), "is 4x0 pixels"),
    "x.npy: truncated": (npy(GRAY)[:-1], "or is truncated"),
    "x.npy: cut in its header": (npy(GRAY)[:50], "is no .npy"),
    "x.npy: another version": (b"\x93NUMPY\x09\0" + npy(GRAY)[8:], "is no .npy"),
    "x.npy: 400 bytes of 400 MB": (headed((10_000, 10_000)), "or is truncated"),
    "x.npy: declared too large": (headed((2**40, 2**40)), "is no .npy, or is truncated (array is too big"),
    "x.npy: declared beyond 64 bits": (headed((2**80, 1)), "is no .npy"),
    "x.npy: negative": (headed((-4, -25)), "is no .npy"),
    "x.npy: code for a shape": (headed("(__import__('os').mkdir('pwned'), 1)"), "is no .npy"),
    "x.npy: nested": (headed("(" * 3000), "is no .npy"),
    "x.sgy: SEG-Y": (bytes(3600), "is neither a .png, an .npy nor a .sgy"),
}


@pytest.mark.parametrize(
    ("name", "content", "said"), [(n.split(":")[0], *case) for n, case in REFUSED.items()], ids=REFUSED
)
def test_what_is_no_section_is_refused_in_one_line_without_noise(tmp_path, capfd, name, content, said):
    (tmp_path / name).write_bytes(content)
    with contextlib.chdir(tmp_path):
        assert refused(lambda: read_section(name), said).startswith(f"{name} ")
    assert os.listdir(tmp_path) == [name]  # nothing in it was run
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_opened(tmp_path):
    for name in ("x.png", "x.npy"):
        refused(lambda name=name: read_section(tmp_path / name), f"cannot read {tmp_path}/{name}: No such file")
        os.mkfifo(tmp_path / name)  # opening it would wait for a writer
        refused(lambda name=name: read_section(tmp_path / name), f"{tmp_path}/{name} is a pipe or a device")
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        refused(lambda name=name: read_section(tmp_path / name), f"cannot read {tmp_path}/{name}: Is a directory")


def test_an_array_of_more_pixels_than_memory_is_meant_for(tmp_path):
    (tmp_path / "x.npy").write_bytes(headed((20_000, 10_001), "|u1"))
    os.truncate(tmp_path / "x.npy", 200_100_000)  # a hole: takes no space
    refused(lambda: read_section(tmp_path / "x.npy"), "is 10001x20000 pixels")


def test_a_file_with_huge_metadata_is_refused_by_its_length(tmp_path, monkeypatch):
    monkeypatch.setattr("data.tiles.MAX_SECTION_BYTES", 10_000)
    (tmp_path / "x.png").write_bytes(png(GRAY)[:33] + chunk(b"tEXt", bytes(10_000)) + png(GRAY)[33:])
    refused(lambda: read_section(tmp_path / "x.png"), "a section has at most 10000")


@pytest.mark.parametrize("name", ["x.png", "x.npy"])
def test_truncation_and_flipped_bits_give_a_section_or_one_line(tmp_path, capfd, name):
    """A PNG has checksums. An .npy has none: what is flipped among its pixels cannot be seen."""
    good = png(GRAY[:9]) if name == "x.png" else npy(GRAY[:9] * 0.1)
    rng = random.Random(0)
    for trial in range(400):
        damaged = bytearray(good)
        damaged[rng.randrange(len(good) if trial % 2 else 128)] ^= 1 << rng.randrange(8)
        content = good[: rng.randrange(len(good))] if trial % 4 == 0 else bytes(damaged)
        (tmp_path / name).write_bytes(content)
        if name == "x.png" or trial % 4 == 0:
            refused(lambda: read_section(tmp_path / name), "x.")
        else:
            with contextlib.suppress(InputError):
                assert read_section(tmp_path / name).dtype == np.uint8
    assert capfd.readouterr() == ("", "")
