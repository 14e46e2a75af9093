"""tgs_preprocess.py as users run it: an even split, its table and figure, reading a fold back, wrong use."""

import os
import re
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import tgs_preprocess
from common.names import Entry
from data.folds.fold import list_folds, read_fold, read_folds_csv
from data.folds.split import STRATIFICATIONS, TGSDatasetPreprocessor, coverage_class
from data.rle import encode_rle
from data.tiles import read_tiles
from tests.helpers.commands import error_line, refused, run_script
from tests.helpers.machine import slowdown


def preprocess(sample: Path, cwd: Path, *flags: str) -> Path:
    """Run main() on `sample` in this process; returns the folds folder."""
    tgs_preprocess.main([f"--data_path={sample}", f"--folds_path={cwd / 'folds'}", *flags])
    return cwd / "folds"


def split(path: Path) -> dict[str, str]:
    table = pd.read_csv(path / "folds.csv", dtype=str)
    return dict(zip(table["id"], table["fold"], strict=True))


# ---- the split ---------------------------------------------------------------------------------------------


def test_each_tile_validates_once_and_trains_in_every_other_fold(sample, folds):
    ids = {p.stem for p in (sample / "train/images").iterdir()}
    assert [p.name for p in list_folds(folds)] == ["fold_0", "fold_1", "fold_2"]
    validated = []
    for k in range(3):
        names = {part: {kind: {p.stem for p in (folds / f"fold_{k}" / part / kind).iterdir()}
                        for kind in ("images", "masks")} for part in ("train", "val")}  # fmt: skip
        assert names["train"]["images"] == names["train"]["masks"]
        assert names["val"]["images"] == names["val"]["masks"]
        assert names["train"]["images"] == ids - names["val"]["images"]
        assert len(names["val"]["images"]) == 20
        validated += names["val"]["images"]
    assert sorted(validated) == sorted(ids)


def test_folds_csv_says_of_each_tile_what_is_true(sample, folds):
    table = pd.read_csv(folds / "folds.csv", dtype={"id": str})
    assert list(table.columns) == ["id", "fold", "coverage", "coverage_class", "depth", "group"]
    tiles = read_tiles(sample / "train/images", sample / "train/masks")
    assert table["id"].tolist() == tiles.ids
    np.testing.assert_allclose(table["coverage"], tiles.masks.mean(axis=(1, 2)), atol=1e-6)
    depths = pd.read_csv(sample / "depths.csv", dtype={"id": str}).set_index("id")["z"]
    assert table["depth"].tolist() == depths[tiles.ids].tolist()
    assert table["group"].nunique() == 60
    for name, k in zip(table["id"], table["fold"], strict=True):
        assert (folds / f"fold_{k}/val/images/{name}.png").is_symlink()


def test_coverage_classes_by_hand():
    share = [0, 1 / 10201, 0.1, 0.1 + 1 / 10201, 0.5, 0.9, 0.9 + 1e-6, 1]
    assert coverage_class(np.array(share)).tolist() == [0, 1, 1, 2, 5, 9, 10, 10]


def test_folds_are_even_in_every_coverage_class(folds):
    table = pd.read_csv(folds / "folds.csv")
    counts = pd.crosstab(table["coverage_class"], table["fold"])
    assert len(counts) > 5
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1


@pytest.mark.parametrize(("stratify", "classes"), [("depth", 10), ("coverage_depth", 44)])
def test_other_qualities_are_spread_as_evenly(sample, tmp_path, stratify, classes):
    path = preprocess(sample, tmp_path, f"--stratify={stratify}", "--fold=5")
    table = pd.read_csv(path / "folds.csv")
    tenths, quarters = (pd.qcut(table["depth"], n, labels=False) for n in (10, 4))
    quality = tenths if stratify == "depth" else table["coverage_class"] * 4 + quarters
    counts = pd.crosstab(quality, table["fold"])
    assert 10 <= len(counts) <= classes
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1


def test_the_seed_makes_the_split(sample, folds, tmp_path):
    same = preprocess(sample, tmp_path / "a", "--fold=3", "--seed=1")
    other = preprocess(sample, tmp_path / "b", "--fold=3", "--seed=2")
    assert (same / "folds.csv").read_bytes() == (folds / "folds.csv").read_bytes()
    assert split(other) != split(folds)
    assert read_fold(same / "fold_0").fingerprint == read_fold(folds / "fold_1").fingerprint
    assert read_fold(other / "fold_0").fingerprint != read_fold(folds / "fold_0").fingerprint


class ByBrightness(TGSDatasetPreprocessor):
    def strata(self, table, tiles):
        return pd.qcut(tiles.images.mean(axis=(1, 2)), 10, labels=False, duplicates="drop")


def test_a_quality_of_the_users_own(sample, tmp_path, monkeypatch):
    monkeypatch.setitem(STRATIFICATIONS, "brightness", Entry("by brightness", ByBrightness))
    path = preprocess(sample, tmp_path, "--stratify=brightness", "--fold=3")
    tiles = read_tiles(sample / "train/images", sample / "train/masks")
    counts = pd.crosstab(ByBrightness().strata(None, tiles), pd.read_csv(path / "folds.csv")["fold"].to_numpy())
    assert len(counts) > 5
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    for wrong in (tiles.coverage, [1, 2], [None] * 60):
        monkeypatch.setattr(ByBrightness, "strata", lambda *_, wrong=wrong: wrong)
        said = "strata() of ByBrightness must give a whole number or a name for every tile"
        refused(lambda: preprocess(sample, tmp_path, "--stratify=brightness"), said)


def test_more_folds_than_any_class_has_tiles_is_one_line(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(ByBrightness, "strata", lambda self, table, tiles: range(60))
    monkeypatch.setitem(STRATIFICATIONS, "brightness", Entry("by brightness", ByBrightness))
    refused(lambda: preprocess(sample, tmp_path, "--stratify=brightness"), "does not split into 5 folds")


def test_mosaic_keeps_groups_together(sample, tmp_path, monkeypatch):
    path = preprocess(sample, tmp_path, "--group=mosaic", "--fold=3")
    table = pd.read_csv(path / "folds.csv")
    assert table["group"].nunique() < 60, "the sample has no tiles that belong together: this test sees nothing"
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    assert table["fold"].nunique() == 3
    monkeypatch.setattr("data.folds.split.mosaic_groups", lambda images: np.arange(len(images)) % 2)
    refused(lambda: preprocess(sample, tmp_path, "--group=mosaic", "--fold=3"), "the number of groups: 2); use fewer")


def test_what_the_run_prints_and_draws(sample, folds):
    done = run_script("tgs_preprocess.py", f"--data_path={sample}", "--fold=3", cwd=folds.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote 3 folds of 60 tiles to folds/ (folds.csv, evenness.csv, config.yaml; pictures: " in done.stdout
    assert "tgs_train.py --data_path=folds/fold_0\n" in done.stdout
    table, even = pd.read_csv(folds / "folds.csv"), pd.read_csv(folds / "evenness.csv")
    assert even["tiles"].tolist() == [20, 20, 20]
    assert even["coverage_percent"].tolist() == pytest.approx(100 * table.groupby("fold")["coverage"].mean(), abs=0.01)
    figure = cv2.imread(str(folds / "folds.png"))
    height, width, _ = figure.shape
    assert 300 < height < 1000
    assert 800 < width < 3000
    assert 0.02 < (figure < 200).mean() < 0.6  # neither blank nor solid


def test_many_folds_are_drawn_without_a_warning(sample, tmp_path, recwarn):
    assert len(list_folds(preprocess(sample, tmp_path, "--fold=15"))) == 15
    assert not recwarn.list


# ---- reading a fold back -----------------------------------------------------------------------------------


@pytest.fixture
def edited(folds, sample, tmp_path) -> Path:
    """Folds to break, in a folder that the links of `folds` also work from."""
    return preprocess(sample, tmp_path, "--fold=3")


def test_a_fold_comes_back_with_its_tiles(sample, folds):
    fold = read_fold(folds / "fold_1")
    tiles = read_tiles(sample / "train/images", sample / "train/masks")
    assert (fold.name, fold.count, len(fold.train), len(fold.val)) == ("fold_1", 3, 40, 20)
    assert re.fullmatch("[0-9a-f]{16}", fold.fingerprint)
    assert fold.val.ids == sorted(name for name, k in split(folds).items() if k == "1")
    for part in (fold.train, fold.val):
        at = [tiles.ids.index(name) for name in part.ids]
        np.testing.assert_array_equal(part.images, tiles.images[at])
        np.testing.assert_array_equal(part.masks, tiles.masks[at])
    assert [encode_rle(mask) for mask in fold.val.masks] != [""] * 20


def test_an_edited_fold_is_refused(edited):
    fold = edited / "fold_0"
    name = next((fold / "val/images").iterdir()).stem
    disagree = f"disagree about the tile '{name}'; run tgs_preprocess.py again"
    for kind in ("images", "masks"):  # moved from val to train
        (fold / f"val/{kind}/{name}.png").rename(fold / f"train/{kind}/{name}.png")
    refused(lambda: read_fold(fold), f"{fold}/train and {edited}/folds.csv {disagree}")
    for kind in ("images", "masks"):  # gone
        (fold / f"train/{kind}/{name}.png").unlink()
    refused(lambda: read_fold(fold), f"{fold}/val and {edited}/folds.csv {disagree}")
    fold = (edited / "fold_1").rename(edited / "fold_9")
    refused(lambda: read_fold(fold), "disagree about the tile")


def test_folds_whose_tiles_or_table_are_gone_are_refused(edited):
    link = next((edited / "fold_0/val/masks").iterdir())
    target = os.readlink(link)
    link.unlink()
    link.symlink_to(target.replace("train", "gone"))
    refused(lambda: read_fold(edited / "fold_0"), f"{link} is a link to {os.readlink(link)}, and there is no /")
    link.unlink()
    refused(lambda: read_fold(edited / "fold_0"), f"expected {link}")
    (edited / "folds.csv").write_text("id,fold\na,0\n")
    refused(lambda: read_folds_csv(edited), f"{edited}/folds.csv has the columns id,fold; expected")
    (edited / "folds.csv").unlink()
    refused(lambda: read_folds_csv(edited), f"no {edited}/folds.csv; run tgs_preprocess.py")
    refused(lambda: list_folds(edited / "none"), f"no fold in {edited}/none; run tgs_preprocess.py first")


def test_folds_are_listed_in_order_of_number(tmp_path):
    for name in ("fold_10", "fold_2", "fold_0", "fold_x", "old_fold_1"):
        (tmp_path / name / "train").mkdir(parents=True)
    (tmp_path / "fold_3").touch()
    assert [path.name for path in list_folds(tmp_path)] == ["fold_0", "fold_2", "fold_10"]
    assert list_folds(tmp_path / "fold_2") == [tmp_path / "fold_2"]


# ---- the command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--stratify=colour"], "no stratification 'colour'; choose from coverage, depth, coverage_depth"),
        (["--stratfy=depth"], "unknown argument '--stratfy=depth'; did you mean --stratify?"),
        (["--copy=maybe"], "'maybe' is not True or False"),
        (["--fold=1"], "1 is outside 2 to 100"),
        (["--fold=101"], "101 is outside 2 to 100"),
        (["--fold=many"], "'many' is not a number of type int"),
        (["--fold=2.5"], "'2.5' is not a number of type int"),
        (["--seed=-1"], "-1 is outside 0 to"),
        (["--group=colour"], "invalid choice: 'colour'"),
        (["--fold", "3", "5"], "unknown argument '5'"),
        (["--fold"], "expected one argument"),
        (["--data_path=nowhere"], "no such folder or zip: nowhere"),
        (["--fold=40"], "60 tiles in"),
    ],
)
def test_wrong_use_is_one_line(sample, tmp_path, flags, said):
    done = run_script("tgs_preprocess.py", f"--data_path={sample}", *flags, cwd=tmp_path)
    assert said in error_line(done)
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_data_that_does_not_fit_is_named(sample, tmp_path):
    data = tmp_path / "tgs"
    shutil.copytree(sample, data)
    name = min(p.stem for p in (data / "train/images").iterdir())
    depths = (data / "depths.csv").read_text()
    (data / "depths.csv").write_text(re.sub(f"{name},.*\n", "", depths))
    refused(lambda: preprocess(data, tmp_path, "--stratify=depth"), f"no depth for the tile '{name}' in depths.csv")
    assert pd.read_csv(preprocess(data, tmp_path) / "folds.csv")["depth"].isna().sum() == 1
    (data / "depths.csv").write_text(re.sub(",[0-9]+\n", ",300\n", depths))  # one depth for all: one class
    assert len(split(preprocess(data, tmp_path, "--stratify=depth"))) == 60
    (data / "depths.csv").unlink()
    assert pd.read_csv(preprocess(data, tmp_path) / "folds.csv")["depth"].isna().all()
    (data / "train.csv").write_text("id,rle_mask\nstranger,1 1\n")
    refused(lambda: preprocess(data, tmp_path), f"{data}/train.csv has the id 'stranger'")
    (data / "train/masks" / f"{name}.png").unlink()
    refused(lambda: preprocess(data, tmp_path), f"no mask for {data}/train/images/{name}.png")


def test_help_answers_without_the_heavy_packages(tmp_path):
    done = run_script("tgs_preprocess.py", "--help", cwd=tmp_path, interpreter_flags=("-X", "importtime"))
    assert done.returncode == 0
    assert "--stratify" in done.stdout
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert {"argparse", "common"} <= imported
    assert not imported & {"tensorflow", "keras", "numpy", "pandas", "sklearn", "scipy", "cv2", "matplotlib"}


@pytest.mark.slow
def test_the_real_tiles_are_split_in_seconds(real_data, tmp_path):
    began = time.perf_counter()
    done = run_script("tgs_preprocess.py", f"--data_path={real_data}", cwd=tmp_path)
    seconds = time.perf_counter() - began
    assert (done.returncode, done.stderr) == (0, "")
    print(f"tgs_preprocess.py on the real tiles: {seconds:.1f} s\n{done.stdout}")
    table = pd.read_csv(tmp_path / "folds/folds.csv")
    assert sorted(table["fold"].value_counts()) == [720, 720, 720, 720, 721]
    counts = pd.crosstab(table["coverage_class"], table["fold"])
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    assert seconds < 20 * slowdown()  # 10 wanted on two cores
