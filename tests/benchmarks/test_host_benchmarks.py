"""The host's benchmarks at a size of seconds: all rows are there, and mean what they say."""

import itertools
import time
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import host, outside
from benchmarks.material import clocked, make_project, part, seconds
from benchmarks.outside import outside_rows
from benchmarks.processes import process_rows
from data.tiles import read_tiles


@pytest.fixture(scope="module")
def project(tmp_path_factory, monkeypatch_module):
    monkeypatch_module.delenv("TGS_DATA", raising=False)
    return make_project(tmp_path_factory.mktemp("benchmark"), 60, 20)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def units(rows) -> dict[str, str]:
    return {row.what: row.unit for row in rows}


def test_parts(project):
    rows = host.part_rows(2, project, scored=30, coded=30)
    assert units(rows) == {
        "reading and checking 60 tiles and masks": "s",
        "run-length coding of 30 masks": "s",
        "score of 30 masks": "s",
        "input pipeline, batch 16": "tiles/s",
        "input pipeline, batch 64": "tiles/s",
    }
    assert all(len(row.values) == 2 and min(row.values) > 0 for row in rows)
    assert all("generated tiles" in row.note for row in rows)
    assert [row.target for row in rows] == [2.0, 1.0, 0.1, 20_000, 20_000]
    assert [row.at_least for row in rows] == [False, False, False, True, True]


@pytest.mark.slow
def test_outside_the_network(project, devices_listed):
    rows = {row.what: row for row in outside_rows(1, project, ("tiny", 32))}
    assert {what: row.unit for what, row in rows.items()} == {
        "an epoch outside the network": "s",
        "of which saving": "s",
        "an epoch in the network": "s",
        "share of an epoch outside the network": "%",
        "a prediction outside the network": "s",
        "of which after the last batch": "s",
        "share of predicting 18,000 tiles outside the network": "%",
    }
    assert all(len(row.values) == 1 and row.values[0] > 0 for row in rows.values())
    assert rows["of which saving"].median < rows["an epoch outside the network"].median
    assert rows["of which after the last batch"].median < rows["a prediction outside the network"].median
    a, b = (rows[f"an epoch {where} the network"].median for where in ("outside", "in"))
    assert rows["share of an epoch outside the network"].median == pytest.approx(100 * a / (a + b))


@pytest.mark.slow
def test_processes(project):
    rows = process_rows(1, project, project, ("tiny", 32))
    assert units(rows) == {
        "tgs_preprocess.py --help": "s",
        "tgs_train.py --help": "s",
        "tgs_train_ring.py --help": "s",
        "tgs_predict.py --help": "s",
        "start to the end of the first training step": "s",
        "peak memory of training, float32": "GB",
        "peak memory of training, bfloat16": "GB",
    }
    by_name = {row.what: row.median for row in rows}
    assert 0.02 < by_name["tgs_train.py --help"] < 2 < by_name["start to the end of the first training step"]
    assert 0.3 < by_name["peak memory of training, float32"] < 2  # TensorFlow alone has 0.5


def test_all_rows_come_from_the_three(monkeypatch):
    made = []
    monkeypatch.setattr(host, "make_project", lambda folder, *counts: made.append(counts) or folder.name)
    monkeypatch.setattr(host, "part_rows", lambda rounds, project, **sizes: [(rounds, project)])
    monkeypatch.setattr(host, "outside_rows", lambda rounds, project, network: [network])
    monkeypatch.setattr(host, "process_rows", lambda rounds, small, full, network: [(small, full)])
    assert host.rows(3, tiny=False) == [(3, "full"), ("resnet34", 128), ("small", "full")]
    assert made == [(60, 20), (3601, 18000)]
    assert host.rows(1, tiny=True) == [(1, "small"), ("tiny", 32), ("small", "small")]


def test_more_tiles_than_are_generated_are_links_to_them(tmp_path, monkeypatch):
    monkeypatch.delenv("TGS_DATA", raising=False)
    monkeypatch.setattr("benchmarks.material.GENERATED", 12)
    data = make_project(tmp_path, 40, 30).folder / "tgs"
    assert len(list((data / "test/images").iterdir())) == 30
    tiles = read_tiles(data / "train/images", data / "train/masks")
    assert len(tiles) == 40
    contents = {(image.tobytes(), mask.tobytes()) for image, mask in zip(tiles.images, tiles.masks, strict=True)}
    assert len(contents) == 12  # each mask with its own image
    assert part(tiles, 5).ids == tiles.ids[:5]


def test_clocks():
    owner = SimpleNamespace(work=lambda: time.sleep(0.02))
    work = owner.work
    with clocked(owner, "work") as calls:
        owner.work()
        owner.work()
    assert owner.work is work
    assert len(calls) == 2
    assert all(call.seconds >= 0.02 for call in calls)
    assert calls[0].end <= calls[1].start
    counter = itertools.count()
    assert len(seconds(lambda: next(counter), 3)) == 3
    assert next(counter) == 4  # one call more than counts


def test_the_network_s_time_is_not_outside(monkeypatch):
    """By hand: epochs of 3.0, 2.5 and 2.5 s, of which steps take 2.0 and a validation 0.3; the first does not count."""
    step = [outside.Call(start + k, start + k + 1.0) for start in (0.0, 3.0, 5.5, 8.0) for k in (0.0, 1.0)]
    checked = [outside.Call(start + 2.0, start + 2.3) for start in (0.0, 3.0, 5.5, 8.0)]
    saved = [outside.Call(start + 2.3, start + 2.4) for start in (0.0, 3.0, 5.5, 8.0)]
    assert np.allclose(outside.beside(4, step, checked, saved), [[0.2, 0.2], [0.1, 0.1]])
