"""The HTML report: what is in the file. How it behaves in a browser: test_report_browser.py."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.rle import decode_rle
from models.evaluation.report import page as module
from models.evaluation.report.page import error_kinds, write_report
from tests.helpers.commands import refused
from tests.models.evaluation.reports import HOSTILE, small, squares


class Page(HTMLParser):
    """The elements of a page, and the text of those without children."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def data(self) -> dict:
        return json.loads(next(text for text in self.texts if text.startswith('{"ids"')))


def test_error_kinds_by_hand():
    # IoU 1600/1681 = 0.952 has full score, 1600/1764 = 0.907 has not
    truth, predictions = squares(0, 40, 40, 40, 40, 0), squares(0, 40, 41, 42, 0, 1)
    assert error_kinds(truth, predictions).tolist() == ["right"] * 3 + ["wrong border", "missed", "invented"]


def test_the_page_holds_the_tiles(tmp_path):
    report = small()
    write_report(tmp_path / "r.html", report)
    data = Page(tmp_path / "r.html").data
    assert data["ids"] == report.ids
    assert data["kinds"] == ["right", "invented", "missed", "wrong border", "wrong border", "right"]
    assert data["scores"] == [1, 0, 0, 0.1, 0.3, 1]  # IoU 0.5184 and 0.64
    assert data["coverage"] == [0, 0, 15.68, 24.51, 35.29, 98.03]  # percent: 1600, 2500, 3600, 10000 of 10201
    assert data["folds"] == report.folds.tolist()
    for column, masks in (("truth", report.truth), ("predictions", report.predictions)):
        assert np.array_equal([decode_rle(runs) for runs in data[column]], masks)
    picture = np.frombuffer(base64.b64decode(data["probabilities"][5]), np.uint8)
    assert np.abs(cv2.imdecode(picture, cv2.IMREAD_GRAYSCALE).astype(int) - report.probabilities[5]).mean() < 2


def test_no_text_becomes_markup(tmp_path):
    write_report(tmp_path / "r.html", small())
    page = Page(tmp_path / "r.html")
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2
    assert page.data["ids"] == HOSTILE
    assert tags.count("img") == 1
    assert not {"b", "i"} & set(tags)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert {"tiny & <b>bold</b>", "<td>", "Score </table>", "not UTF-8: ?", "1,406", "n/a"} <= set(page.texts)
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_without_truth_there_are_no_scores(tmp_path):
    write_report(tmp_path / "r.html", replace(small(), truth=None, folds=None))
    page = Page(tmp_path / "r.html")
    assert not {"truth", "scores", "kinds", "folds"} & page.data.keys()
    assert page.data["coverage"] == [0, 8.82, 0, 12.7, 22.59, 98.03]  # of the predictions
    assert page.data["certainty"][0] == 1  # certainly no salt
    assert ("html", {"lang": "en", "class": "no-truth no-folds"}) in page.elements


def test_too_many_tiles_lower_the_quality_and_then_are_thinned_out(tmp_path, monkeypatch):
    fields = ("images", "probabilities", "predictions", "truth", "folds")
    repeated = {name: np.concatenate([getattr(small(), name)] * 8) for name in fields}
    report = replace(small(), figures={}, ids=[str(i) for i in range(48)], **repeated)

    def written(limit: int) -> tuple[int, int, str]:
        monkeypatch.setattr(module, "LIMIT", limit)
        write_report(tmp_path / "r.html", report)
        page = Page(tmp_path / "r.html")
        note = next(text for text in page.texts if "Pictures are compressed" in text)
        return (tmp_path / "r.html").stat().st_size, len(page.data["ids"]), note

    best, tiles, note = written(10**9)
    assert (tiles, note[:34]) == (48, "Pictures are compressed (WebP, qua")
    assert "quality 80" in note
    size, tiles, note = written(best * 2 // 3)
    assert size <= best * 2 / 3
    assert tiles == 48
    assert int(re.search(r"quality (\d+)", note)[1]) < 80
    size, tiles, note = written(best // 4)
    assert size <= best / 4 * 1.02
    assert 1 < tiles < 48
    assert note.startswith(f"{tiles} of 48 tiles, evenly spread. ")


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "r.html"
    path.write_text("old")
    refused(lambda: write_report(path, replace(small(), figures={"curve": tmp_path / "none.png"})), "none.png")
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"]
    assert path.read_text() == "old"
    refused(lambda: write_report(tmp_path / "nowhere" / "r.html", small()), "there is no folder")


@pytest.mark.parametrize(
    "wrong",
    [
        {"images": np.zeros((6, 101, 101), np.float32)},
        {"truth": np.zeros((6, 101, 101), bool)},
        {"predictions": squares(0)},
        {"scores": np.zeros(5)},
        {"folds": np.array(["fold_0"])},
    ],
)
def test_parts_of_another_shape_or_type_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(small(), **wrong)
