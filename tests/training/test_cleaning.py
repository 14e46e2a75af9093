"""Tiles that --drop leaves out: rule by rule, counted, never to validate, and what a run says of it."""

import json

import numpy as np
import pytest

import tgs_train
from common.names import Entry
from data.tiles import TileSet, read_tiles
from tests.helpers.commands import error_line, refused, run_here
from tests.helpers.training import TINY
from training.cleaning import RULES, clean

NAMES = ["plain", "empty", "black", "gray", "full", "one", "ten", "eleven", "stripes", "nearly", "rows", "black one"]


@pytest.fixture(scope="module")
def tiles() -> TileSet:
    """One tile of each kind, by NAMES."""
    images = np.random.default_rng(0).integers(0, 256, (len(NAMES), 101, 101), np.uint8)
    masks = np.zeros_like(images)
    at = {name: k for k, name in enumerate(NAMES)}
    images[at["black"]] = images[at["black one"]] = 0
    images[at["gray"]] = 93
    masks[at["plain"], 20:60, 30:90] = masks[at["full"]] = 1
    for name, area in (("one", 1), ("ten", 10), ("eleven", 11), ("black one", 1)):
        masks[at[name]].flat[500 : 500 + area] = 1
    masks[at["stripes"], :, [3, 4, 60]] = masks[at["nearly"], :, :40] = masks[at["rows"], 50:] = 1
    masks[at["nearly"], 100, 39] = 0
    return TileSet(NAMES, images, masks)


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("none", {}),
        ("black", {"black": ["black", "gray", "black one"]}),
        ("tiny", {"tiny": ["one", "ten", "black one"]}),
        ("vertical", {"vertical": ["stripes"]}),
        ("tiny+black", {"tiny": ["one", "ten", "black one"], "black": ["black", "gray"]}),
    ],
)
def test_each_rule_by_hand(tiles, text, out):
    kept, said = clean(tiles, text)
    assert said == (f" ({', '.join(f'{len(ids)} {name}' for name, ids in out.items())} left out)" if out else "")
    gone = {name for ids in out.values() for name in ids}
    assert kept.ids == [name for name in NAMES if name not in gone]
    for k, name in enumerate(kept.ids):
        assert np.array_equal(kept.images[k], tiles.images[NAMES.index(name)])
        assert np.array_equal(kept.masks[k], tiles.masks[NAMES.index(name)])


@pytest.mark.parametrize("text", ["blank", "black+blank", "", "none+black", "black+"])
def test_an_unknown_rule_is_answered_with_the_known(tiles, text):
    said = refused(lambda: clean(tiles, text), "; choose from black, tiny, vertical, a sum like black+tiny")
    assert said.endswith(", or none")


def test_something_must_be_left(tiles):
    few = TileSet(["a"], tiles.images[2:3], tiles.masks[2:3])
    refused(lambda: clean(few, "black"), "--drop=black leaves no tile of 1 to train; name fewer rules")


@pytest.mark.usefixtures("eager")
def test_training_says_what_it_leaves_out_and_validates_on_all(workspace, monkeypatch):
    """Rules of this test's own: the generated tiles have nothing odd."""
    monkeypatch.setitem(RULES, "most", Entry("most", lambda tiles: np.arange(len(tiles)) >= 17))
    monkeypatch.setitem(RULES, "first", Entry("one", lambda tiles: np.arange(len(tiles)) < 1))
    flags = (*TINY, "--data_path=folds/fold_0", "--epochs=1", "--drop=most+first")
    done = run_here(tgs_train.main, *flags, cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert "fold_0: 16 tiles to train (23 most, 1 first left out), 20 to validate; " in done.stdout
    assert " of 2 steps of " in done.stdout
    assert json.loads((workspace / "weights/tiny/fold_0_last.json").read_text())["flags"]["drop"] == "most+first"
    line = error_line(run_here(tgs_train.main, *flags, "--drop=none", cwd=workspace))
    assert "was made with --drop=most+first, not none; repeat that flag" in line


def test_an_unknown_rule_writes_nothing(workspace):
    done = run_here(tgs_train.main, *TINY, "--data_path=folds/fold_0", "--drop=blank", cwd=workspace)
    assert error_line(done).startswith("no --drop rule 'blank'")
    assert not (workspace / "weights").exists()


def test_the_competitions_tiles(real_data):
    tiles = read_tiles(real_data / "train/images", real_data / "train/masks")
    assert clean(tiles, "black+tiny+vertical")[1] == " (73 black, 38 tiny, 102 vertical left out)"
