"""The sample survey: seeded, geology that continues from line to line, files that segyio opens strictly."""

import itertools

import numpy as np
import pytest
import segyio

import data.sample
from data.synthetic.survey import SHARE, make_survey
from tests.helpers.commands import error_line, refused, run_here

SIZE = (24, 60, 70)


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    path = tmp_path_factory.mktemp("survey") / "s.sgy"
    return path, make_survey(path, size=SIZE, seed=2)


def cube(path) -> np.ndarray:
    with segyio.open(path, strict=True) as file:
        return segyio.tools.cube(file)


def test_the_same_seed_gives_the_same_bytes(survey, tmp_path):
    path, mask = survey
    again = make_survey(tmp_path / "s.sgy", size=SIZE, seed=2)
    assert (tmp_path / "s.sgy").read_bytes() == path.read_bytes()
    assert again.read_bytes() == mask.read_bytes()
    make_survey(tmp_path / "t.sgy", size=SIZE, seed=3)
    assert not np.array_equal(cube(tmp_path / "t.sgy"), cube(path))


def test_what_is_in_it(survey):
    path, mask = survey
    amplitudes, salt = cube(path), cube(mask)
    assert amplitudes.shape == salt.shape == SIZE
    assert set(np.unique(salt)) == {0, 1}
    assert abs(salt.mean() - SHARE) < 0.1
    assert np.isfinite(amplitudes).all()
    for number in (0, 12, 23):
        assert amplitudes[number][salt[number] == 1].std() < amplitudes[number][salt[number] == 0].std()
    with segyio.open(mask, strict=True) as file:
        assert int(file.format) == 8
        assert list(file.ilines[:2]) == [100, 101]
        assert b"GENERATED, NOT RECORDED" in bytes(file.text[0])


def test_layers_and_salt_continue_from_line_to_line(survey):
    path, mask = survey
    amplitudes, salt = cube(path), cube(mask)
    for before, after in itertools.pairwise(salt):
        assert (before & after).sum() > 0.85 * (before | after).sum()
    near = np.corrcoef(amplitudes[10].ravel(), amplitudes[11].ravel())[0, 1]
    far = np.corrcoef(amplitudes[0].ravel(), amplitudes[23].ravel())[0, 1]
    assert near > 0.8
    assert near > far


def test_the_command(tmp_path):
    flags = ("--survey=s.sgy", "--survey_size=5x34x36", "--seed=4")
    done = run_here(data.sample.main, *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("wrote s.sgy and its salt, s_mask.sgy: 5 inlines x 34 crosslines x 36 samples")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.sgy", "s_mask.sgy"]
    before = (tmp_path / "s.sgy").read_bytes()
    assert error_line(run_here(data.sample.main, *flags, cwd=tmp_path)).startswith("s.sgy exists")
    assert (tmp_path / "s.sgy").read_bytes() == before
    for size in ("5x34", "5x34x0", "axbxc", "5x34x36x3", "5000000x34x36"):
        assert "survey_size" in error_line(run_here(data.sample.main, f"--survey_size={size}", cwd=tmp_path))


def test_what_cannot_be_written(tmp_path):
    refused(lambda: make_survey(tmp_path / "no/s.sgy", size=(2, 34, 36)), "cannot write")
    (tmp_path / "s_mask.sgy").touch()
    refused(lambda: make_survey(tmp_path / "s.sgy", size=(2, 34, 36)), "s_mask.sgy exists")
    assert [path.name for path in tmp_path.iterdir()] == ["s_mask.sgy"]
