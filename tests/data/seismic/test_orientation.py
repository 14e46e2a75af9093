"""Whether a section looks turned: not said of tiles and upright sections, but of lines saved (traces, samples)."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.seismic.amplitudes import Stretch
from data.seismic.orientation import looks_turned
from data.seismic.sections import load_section
from data.synthetic.survey import Volume
from data.synthetic.tiles import make_section
from data.tiles import read_images

RNG = np.random.default_rng(0)
SAID = "looks turned on its side: rows must be time or depth; save it transposed if so"


def gray(values: np.ndarray) -> np.ndarray:
    return Stretch.fit(values).gray(values)[0]


@pytest.mark.parametrize("line", [0, 20, 39])
def test_a_line_of_a_survey_saved_as_traces_by_samples_is_remarked(tmp_path, line):
    values = Volume((40, 140, 160), seed=1).line(line)[0]  # (samples, traces); it dips little
    for name, saved, remarks in (("upright", values, ()), ("turned", values.T, (SAID,))):
        np.save(tmp_path / f"{name}.npy", saved)
        cv2.imwrite(str(tmp_path / f"{name}.png"), gray(saved))
        for ending in ("npy", "png"):
            assert load_section(tmp_path / f"{name}.{ending}").remarks == remarks


def test_no_sample_section_is_remarked_and_many_are_when_turned():
    turned = 0
    for share in np.linspace(0, 0.68, 150):
        picture = gray(make_section(RNG, share)[0])
        assert not looks_turned(picture)
        turned += looks_turned(np.ascontiguousarray(picture.T))
    assert turned > 30  # those that dip little


@pytest.mark.parametrize("seed", range(1, 6))
def test_layers_on_their_side_are_told_in_any_shape_and_noise_is_not(seed):
    rng = np.random.default_rng(seed)
    layers = cv2.GaussianBlur(rng.normal(size=(600, 1)), (1, 7), 0) + rng.normal(0, 0.2, (600, 120))
    assert not looks_turned(gray(layers))
    assert looks_turned(gray(layers.T))
    assert looks_turned(gray(layers[:250].T))
    for picture in (rng.normal(size=(300, 200)), layers[:101, :101].T, layers[:, :40].T, np.zeros((300, 300))):
        assert not looks_turned(gray(picture))  # noise; one tile; too few traces to tell; a dead section


def test_no_tile_is_remarked(sample, tmp_path):
    """A tile is no section; and the sample tiles in a row, each of another place, are upright."""
    images = read_images(sorted((sample / "train/images").iterdir()))
    assert not any(looks_turned(image) or looks_turned(image.T) for image in images)
    assert not looks_turned(np.hstack(images[:12]))


def test_no_real_tile_is_remarked(real_data):
    images = read_images(sorted((real_data / "train/images").iterdir()))
    assert not any(looks_turned(image) for image in images)
    for k in range(0, 3600, 12):
        assert not looks_turned(np.vstack([np.hstack(images[k : k + 6]), np.hstack(images[k + 6 : k + 12])]))


def test_lines_of_a_real_survey():
    folder = Path(os.environ.get("TGS_SEGY", ""))
    if not (os.environ.get("TGS_SEGY") and (folder / "f3.sgy").is_file()):
        pytest.skip("TGS_SEGY names no folder with f3.sgy")
    import segyio

    for name, told in (("f3.sgy", True), ("viking_small.segy", False)):  # shot gathers: moveout, no layers
        with segyio.open(folder / name, ignore_geometry=True) as file:
            values = file.trace.raw[:].T
        assert not looks_turned(gray(values))
        assert looks_turned(gray(values.T)) == told
