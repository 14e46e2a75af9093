"""Tiles cut from a survey and its interpretation: as a prediction sees them, in the layout of Kaggle's data."""

import numpy as np
import pytest

import data.tiles_from_segy
import tgs_predict
import tgs_preprocess
import tgs_train
from data.kaggle.find import find_dataset
from data.seismic.amplitudes import Stretch
from data.seismic.segy import Survey
from data.synthetic.survey import make_survey
from data.tables import check_train_csv, read_depths
from data.tiles import TILE, read_tiles
from data.tiles_from_segy import EMPTY, cut_tiles
from tests.helpers.commands import error_line, refused, run_here
from tests.helpers.segys import grid, write_segy

SIZE = (12, 130, 260)


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    path = tmp_path_factory.mktemp("survey") / "s.sgy"
    return path, make_survey(path, size=SIZE)


def written(path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_the_command_writes_kaggle_s_layout_of_windows_as_a_prediction_sees_them(survey, tmp_path):
    volume, mask = survey
    flags = (str(volume), str(mask), "--count=60")
    done = run_here(data.tiles_from_segy.main, *flags, "--path=mine", "--slices=both", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = find_dataset(tmp_path / "mine")
    tiles, depths = read_tiles(found.images, found.masks), read_depths(found.depths_csv)
    check_train_csv(found.train_csv, tiles)
    classes = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines()[1:12])
    assert sum(map(int, classes.values())) == len(tiles) == 60
    assert int(classes["empty"]) == np.count_nonzero(tiles.coverage == 0) == round(EMPTY * 60)
    amplitudes, salt = (Survey(path) for path in survey)
    stretch = Stretch.fit(amplitudes.sample().T)
    assert {name.split("_")[0] for name in tiles.ids} == {"inline", "crossline"} - {"crossline"}  # 12 lines are narrow
    lines = {line.name: line for line in amplitudes.lines("inline")}
    for name, image, labels in zip(tiles.ids, tiles.images, tiles.masks, strict=True):
        direction, number, left, top = name.split("_")
        traces = lines[f"{direction} {number}"].traces[int(left) : int(left) + TILE]
        window = np.s_[int(top) : int(top) + TILE]
        np.testing.assert_array_equal(image, stretch.gray(amplitudes.read(traces).T)[0][window])
        np.testing.assert_array_equal(labels, salt.read(traces).T[window])
        assert depths[name] == int(top)


def test_the_same_seed_gives_the_same_bytes(survey, tmp_path):
    flags = (*map(str, survey), "--count=20")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = run_here(data.tiles_from_segy.main, *flags, f"--path={name}", f"--seed={seed}", cwd=tmp_path)
        assert done.returncode == 0
    assert written(tmp_path / "a") == written(tmp_path / "b") != written(tmp_path / "c")
    before = written(tmp_path / "a")
    assert error_line(run_here(data.tiles_from_segy.main, *flags, "--path=a", cwd=tmp_path)).startswith("a/depths.csv")
    assert written(tmp_path / "a") == before


def volume_of(path, headers, change=lambda traces: None):
    traces = np.random.default_rng(0).normal(0, 30, (len(headers), 120))
    change(traces)
    return Survey(write_segy(path, headers, traces))


def labels_of(path, headers, salt=1):
    return Survey(write_segy(path, headers, np.pad(np.full((len(headers), 60), salt), ((0, 0), (60, 0))), format=8))


def test_traces_that_are_dead_or_missing_are_left_out(tmp_path):
    headers = [header for header in grid(range(4), range(110)) if header != {189: 2, 193: 5}]

    def kill(traces: np.ndarray) -> None:
        traces[3], traces[110 + 4] = 0, 1e30  # of the first two lines

    survey = volume_of(tmp_path / "s.sgy", headers, kill)
    tiles = cut_tiles(survey, labels_of(tmp_path / "l.sgy", headers), count=200)
    lefts = {name: {int(t.id.split("_")[2]) for t in tiles if t.id.startswith(f"inline_{name}_")} for name in range(4)}
    assert lefts == {0: set(range(4, 10)), 1: set(range(5, 10)), 2: set(range(6, 10)), 3: set(range(10))}


def test_an_interpretation_of_some_lines_is_enough(tmp_path):
    headers = grid(range(6), range(110))
    survey = volume_of(tmp_path / "s.sgy", headers)
    some = [header for header in headers if header[189] in (2, 4)]
    tiles = cut_tiles(survey, labels_of(tmp_path / "l.sgy", some), count=50)
    assert {tile.id.split("_")[1] for tile in tiles} == {"2", "4"}
    (tile, *_) = tiles
    assert tile.mask.sum() == TILE * (tile.depth + TILE - 60)


def test_what_does_not_fit_is_refused(tmp_path):
    headers = grid(range(6), range(110))
    survey = volume_of(tmp_path / "s.sgy", headers)
    others = grid(range(6), range(1, 111))
    refused(lambda: cut_tiles(survey, labels_of(tmp_path / "a.sgy", others)), "a.sgy (6 inlines x 110 crosslines x 120")
    refused(lambda: cut_tiles(survey, labels_of(tmp_path / "b.sgy", grid(range(9, 15), range(110)))), "has no line of")
    refused(lambda: cut_tiles(survey, labels_of(tmp_path / "c.sgy", headers), slices="crossline"), "at least 101")
    refused(lambda: cut_tiles(survey, labels_of(tmp_path / "d.sgy", headers, 0)), "d.sgy has no value above 0.5")
    short = write_segy(tmp_path / "e.sgy", headers, np.ones((660, 119)))
    refused(lambda: cut_tiles(survey, Survey(short)), "has no line of")


@pytest.mark.parametrize("missing", ["volume.sgy", "labels.sgy"])
def test_files_that_are_not_there_are_named(survey, tmp_path, missing):
    names = {"volume.sgy": str(survey[0]), "labels.sgy": str(survey[1])} | {missing: missing}
    done = run_here(data.tiles_from_segy.main, *names.values(), cwd=tmp_path)
    assert error_line(done).startswith(f"cannot read {missing}: No such file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_network_trained_on_them_finds_the_salt_of_the_survey(tmp_path):
    make_survey(tmp_path / "s.sgy", size=(40, 140, 160))

    def done(main, *flags):
        result = run_here(main, *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr

    done(data.tiles_from_segy.main, "s.sgy", "s_mask.sgy", "--path=mine", "--count=400")
    done(tgs_preprocess.main, "--data_path=mine")
    done(tgs_train.main, "--data_path=folds/fold_0", "--model=tiny", "--target_size=64", "--epochs=8")
    done(tgs_predict.main, "--use_folds", "--model=tiny", "--allow_missing", "--data_path=s.sgy", "--mask")
    (predicted,) = (Survey(path) for path in (tmp_path / "submission").glob("*_mask.sgy"))
    truth, everything = Survey(tmp_path / "s_mask.sgy"), np.arange(40 * 140)
    found, salt = predicted.read(everything) > 0, truth.read(everything) > 0
    assert (found & salt).sum() > 0.7 * (found | salt).sum()
