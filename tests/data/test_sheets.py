"""Sheets of tiles: outlines to the pixel, and which tiles are chosen."""

import cv2
import numpy as np
import pandas as pd
import pytest

from data.folds.figures import draw_samples
from data.sheets import DRAWN, GAP, HEADING, MARGIN, PREDICTION, TITLE, TRUTH, draw_tiles
from data.tiles import TILE, TileSet
from models.evaluation.extremes import draw_extremes
from models.evaluation.extremes import pick_extremes as pick

GRAY = 128


def tiles(*boxes: tuple[int, int, int, int] | None) -> np.ndarray:
    """Masks (N, 101, 101) with salt in a box each: top, bottom, left, right; None: without."""
    masks = np.zeros((len(boxes), TILE, TILE), np.uint8)
    for mask, box in zip(masks, boxes, strict=True):
        if box:
            mask[box[0] : box[1], box[2] : box[3]] = 1
    return masks


def border(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """The outermost pixels of a box, bool (202, 202), enlarged as a sheet's tile is."""
    edge = np.zeros((TILE, TILE), bool)
    edge[top:bottom, left:right] = True
    edge[top + 1 : bottom - 1, left + 1 : right - 1] = False
    return edge.repeat(2, axis=0).repeat(2, axis=1)


def read(path, column: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A sheet, and its tile in the first row of tiles and that column, without headings."""
    sheet = cv2.imread(str(path))
    top, left = MARGIN + HEADING, MARGIN + column * (DRAWN + GAP)
    return sheet, sheet[top : top + DRAWN, left : left + DRAWN]


def is_colour(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (pixels == colour).all(axis=-1)


def capture(monkeypatch, module) -> dict:
    """What the next sheet is drawn of."""
    given = {}
    monkeypatch.setattr(f"{module}.draw_tiles", lambda path, images, **options: given.update(options, images=images))
    return given


# ---- drawing -----------------------------------------------------------------------------------------------------


def test_truth_is_outlined_on_its_outermost_pixels_and_nowhere_else(tmp_path):
    box = (20, 60, 30, 90)
    draw_tiles(tmp_path / "a.png", np.full((2, TILE, TILE), GRAY, np.uint8), masks=tiles(box, None), columns=2)
    sheet, tile = read(tmp_path / "a.png")
    assert sheet.shape == (MARGIN + HEADING + DRAWN + MARGIN, 2 * MARGIN + 2 * DRAWN + GAP, 3)
    assert np.array_equal(is_colour(tile, TRUTH.core), border(*box))
    assert (tile[40:120, 60:180][4:-4, 4:-4] == GRAY).all()  # the inside, less line and edge
    assert (read(tmp_path / "a.png", 1)[1] == GRAY).all()  # no salt, no line


def test_prediction_is_dashed_on_its_outermost_pixels(tmp_path):
    box = (20, 60, 30, 90)
    draw_tiles(tmp_path / "a.png", np.full((1, TILE, TILE), GRAY, np.uint8), predictions=tiles(box), columns=4)
    _, tile = read(tmp_path / "a.png")
    line = is_colour(tile, PREDICTION.core)
    assert not (line & ~border(*box)).any()
    assert line.sum() / border(*box).sum() == pytest.approx(PREDICTION.dash / PREDICTION.period, abs=0.05)


def test_black_and_white_tells_truth_from_prediction(tmp_path):
    """Truth is a light line that never breaks, prediction dark dashes; their edges set both off from any gray."""
    one, other = (10, 50, 10, 90), (60, 90, 10, 90)
    colours = np.uint8([[TRUTH.core, TRUTH.casing, PREDICTION.core, PREDICTION.casing]])
    light, dark_edge, dark, light_edge = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY)[0].astype(int)
    assert min(light, light_edge) - max(dark, dark_edge) > 100
    for gray in (0, GRAY, 252):
        images = np.full((1, TILE, TILE), gray, np.uint8)
        draw_tiles(tmp_path / "a.png", images, masks=tiles(one), predictions=tiles(other), columns=1)
        tile = cv2.cvtColor(read(tmp_path / "a.png")[1], cv2.COLOR_BGR2GRAY)
        assert (tile[border(*one)] == light).all()
        assert 0.4 < (tile[border(*other)] == dark).mean() < 0.8
        for (top, _, left, _), edge in ((one, dark_edge), (other, light_edge)):
            assert (tile[2 * top - 1, 2 * left : 2 * left + 8] == edge).all()


def test_where_both_agree_both_are_seen(tmp_path):
    box = tiles((20, 60, 30, 90))
    draw_tiles(tmp_path / "a.png", np.full((1, TILE, TILE), GRAY, np.uint8), masks=box, predictions=box, columns=1)
    _, tile = read(tmp_path / "a.png")
    assert is_colour(tile, TRUTH.core).sum() > 100
    assert is_colour(tile, PREDICTION.core).sum() > 100


def test_a_single_pixel_and_a_hole_are_outlined(tmp_path):
    masks = tiles((50, 51, 50, 51), (0, TILE, 0, TILE))
    masks[1, 40:60, 40:60] = 0
    draw_tiles(tmp_path / "a.png", np.full((2, TILE, TILE), GRAY, np.uint8), masks=masks, predictions=masks, columns=2)
    assert is_colour(read(tmp_path / "a.png")[1], PREDICTION.core).sum() == 4
    around = read(tmp_path / "a.png", 1)[1][76:124, 76:124]
    assert is_colour(around, TRUTH.core).any()
    assert is_colour(around, PREDICTION.core).any()


def test_a_title_stands_under_its_tile_cut_off_at_its_width(tmp_path):
    images = np.zeros((3, TILE, TILE), np.uint8)
    draw_tiles(tmp_path / "a.png", images, titles=["W" * 500 + "\nsecond", "", ""], columns=2)
    sheet, _ = read(tmp_path / "a.png")
    assert sheet.shape[0] == MARGIN + HEADING + 2 * (DRAWN + 2 * TITLE + GAP) - GAP + MARGIN
    under = sheet[MARGIN + HEADING + DRAWN :][: 2 * TITLE]
    assert (under[:TITLE, MARGIN : MARGIN + DRAWN] < 100).any()
    assert (under[TITLE:, MARGIN : MARGIN + DRAWN] < 100).any()
    assert (under[:, MARGIN + DRAWN :] == 255).all()


def test_rows_have_headings_and_may_be_short(tmp_path):
    images = np.full((3, TILE, TILE), GRAY, np.uint8)
    draw_tiles(tmp_path / "a.png", images, rows={"first": [2, 0], "second": [1]}, columns=2)
    sheet, _ = read(tmp_path / "a.png")
    first, second = MARGIN + HEADING, MARGIN + HEADING + HEADING + DRAWN + GAP
    for top in (first, second):
        assert (sheet[top : top + HEADING] < 100).any()
    assert (sheet[second + HEADING :, MARGIN + DRAWN + 1 :] == 255).all()


# ---- choosing ----------------------------------------------------------------------------------------------------


def test_samples_are_a_row_a_class_spread_over_coverage_then_depth(tmp_path, monkeypatch):
    coverage = np.array([0, 0, 0, 0, 0.05, 0.95, 0.92])
    table = pd.DataFrame(
        {
            "id": list("abcdefg"),
            "fold": [0, 1, 0, 1, 0, 1, 0],
            "coverage": coverage,
            "coverage_class": [0, 0, 0, 0, 1, 10, 10],
            "depth": [300, 200, np.nan, 100, 5, 6, 7],
        }
    )
    tile_set = TileSet(list("abcdefg"), np.zeros((7, TILE, TILE), np.uint8), tiles(*[None] * 7))
    given = capture(monkeypatch, "data.folds.figures")
    draw_samples(tmp_path / "a.png", table, tile_set, columns=3)
    assert {heading: list(indices) for heading, indices in given["rows"].items()} == {
        "No salt: 4 of 7 tiles": [3, 0, 2],  # depths 100, 200, 300, unknown: the first, the third, the last
        "0 to 10 % salt: 1 of 7 tiles": [4],
        "90 to 100 % salt: 2 of 7 tiles": [6, 5],
    }
    assert given["titles"][2] == "c\nno salt, z unknown, fold 0"
    assert given["titles"][4] == "e\n5.00 % salt, z 5, fold 0"


def test_extremes_by_hand():
    boxes = [None, (0, 10, 0, 10), (0, 20, 0, 20), (0, 30, 0, 10), None, (0, 10, 0, 10), (0, 10, 0, 10), (0, 10, 0, 10)]
    found = [None, (0, 10, 0, 10), (0, 20, 0, 20), None, (0, 5, 0, 5), None, (0, 8, 0, 10), (0, 7, 0, 10)]
    scores = np.array([1, 1, 1, 0, 0, 0, 0.6, 0.4])
    names = list("abcdefgh")
    # Tile a, rightly empty, is no candidate. c has a longer outline than b; 300 px are wrong in d, 100 in f, 25 in e.
    # Left are e, h and g, by score.
    rows = pick(names, truth=tiles(*boxes), predictions=tiles(*found), scores=scores, count=2)
    assert rows == {"best": [2, 1], "median": [4, 7], "worst": [3, 5]}
    rows = pick(names, truth=tiles(*boxes), predictions=tiles(*found), scores=scores, count=1)
    assert rows == {"best": [2], "median": [7], "worst": [3]}  # of e, f, h, g, b: by score, then IoU


def test_equals_go_by_id_not_by_place():
    same, scores = tiles(*[(0, 10, 0, 10)] * 3), np.ones(3)
    rows = pick(["z", "x", "y"], truth=same, predictions=same, scores=scores, count=1)
    assert rows == {"best": [1], "median": [0], "worst": [2]}


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_few_tiles_are_shown_once_each(n):
    same = tiles(*[(0, 10, 0, 10)] * n)
    rows = pick([str(k) for k in range(n)], truth=same, predictions=same, scores=np.ones(n), count=8)
    assert sorted(i for row in rows.values() for i in row) == list(range(n))


def test_extremes_are_drawn_with_score_and_iou(tmp_path, monkeypatch):
    truth, found = tiles((0, 10, 0, 10), None, (0, 10, 0, 10)), tiles((0, 10, 0, 5), None, (0, 10, 0, 10))
    images, scores = np.zeros((3, TILE, TILE), np.uint8), np.array([0, 1, 1])
    draw_extremes(tmp_path / "a.png", list("abc"), images, truth=truth, predictions=found, scores=scores, count=2)
    assert cv2.imread(str(tmp_path / "a.png")) is not None
    given = capture(monkeypatch, "models.evaluation.extremes")
    draw_extremes(tmp_path / "a.png", list("abc"), images, truth=truth, predictions=found, scores=scores, count=2)
    assert given["titles"] == ["a\nscore 0.0, IoU 0.500", "b\nscore 1.0, IoU 1.000", "c\nscore 1.0, IoU 1.000"]
    assert list(given["rows"].values()) == [[2], [0]]


def test_with_no_salt_anywhere_there_is_a_sheet_all_the_same(tmp_path):
    nothing, images = tiles(None, None, None), np.zeros((3, TILE, TILE), np.uint8)
    draw_extremes(tmp_path / "a.png", list("abc"), images, truth=nothing, predictions=nothing, scores=np.ones(3))
    assert cv2.imread(str(tmp_path / "a.png")).shape[0] > 3 * DRAWN
