"""One HTML file about a prediction: score tables, curves and every tile, to be opened from the disk in any browser.

The page is report.html with this folder's style sheet and scripts in it and the tiles as JSON behind it; it loads
nothing from elsewhere, and its own policy forbids it to. Masks are exact, as run lengths. Tiles and probabilities are
WebP, in the best quality at which the file stays small enough.
"""

import base64
import json
import re
from bisect import bisect_left
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from html import escape
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from common.digests import digest
from common.errors import refusals
from common.files import replacing
from data.rle import encode_rle
from data.tiles import TILE
from models.metrics import points

LIMIT = 24_000_000  # bytes of a file; the size is estimated beforehand, to within 2 %, and never 25 MB
QUALITIES = (80, 65, 50, 40, 30, 20, 15, 10)  # of WebP, 1..100; the first that keeps the file within the limit
PROBE = 1000  # tiles that the estimate is made from
SCRIPTS = ("report_masks.js", "report_tiles.js", "report_gallery.js", "report_tile.js", "report.js")  # in this order
ERROR_KINDS = ("right", "wrong border", "missed", "invented")


@dataclass(frozen=True)
class Report:
    """What a report shows.

    title: one line, such as "resnet34, best weights, out of fold".
    facts: shown at the top, such as model, threshold, minimum area, command line, date, versions.
    ids: N of any characters; images, probabilities (255 = certainly salt): uint8 (N, 101, 101).
    predictions, truth: uint8 {0, 1} (N, 101, 101); truth is None for a submission.
    folds: (N,) names, or None; scores: (N,) in 0..1, or None: the competition's, where there is truth.
    tables: caption -> table, shown with its index; figures: caption -> a PNG file or its bytes.
    """

    title: str
    facts: dict[str, str]
    ids: list[str]
    images: np.ndarray
    probabilities: np.ndarray
    predictions: np.ndarray
    folds: np.ndarray | None = None
    truth: np.ndarray | None = None
    scores: np.ndarray | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Path | bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.ids), TILE, TILE)
        for name in ("images", "probabilities", "predictions", "truth"):
            column = getattr(self, name)
            if column is not None and (column.dtype != np.uint8 or column.shape != shape):
                raise ValueError(f"{name} must be uint8 {shape}, not {column.dtype} {column.shape}")
        for name in ("folds", "scores"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.ids):
                raise ValueError(f"{len(column)} {name} of {len(self.ids)} tiles")


def write_report(path: str | Path, report: Report) -> None:
    """Write `report` as one HTML file of at most 25 MB, at once or not at all.

    Where not even the lowest quality is small enough, tiles spread evenly over the list are shown; the page says so.

    Raises:
        InputError: a figure cannot be read, or `path` not be written.
    """
    page = _page(report)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")  # file names need not be UTF-8


def error_kinds(truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Name what is wrong with each prediction: one of ERROR_KINDS, str (N,), for masks (N, H, W), non-zero = salt.

    "right": full score, so an IoU above 0.95 or both empty; "missed": salt where nothing is predicted; "invented":
    the reverse; "wrong border": any other.
    """
    is_salt, is_predicted = truth.any(axis=(1, 2)), predictions.any(axis=(1, 2))
    right = points(truth, predictions) == 10
    return np.select([right, is_salt & ~is_predicted, ~is_salt], ["right", "missed", "invented"], "wrong border")


# ---- the page ----------------------------------------------------------------------------------------------


def _page(report: Report) -> str:
    names = ("report.html", "report.css", *SCRIPTS)
    template, css, *js = (Path(__file__).with_name(name).read_text("utf-8") for name in names)
    js = "".join(js)
    texts = {
        "policy": f"default-src 'none'; img-src data:; style-src '{_digest(css)}'; script-src '{_digest(js)}'",
        "classes": " ".join(f"no-{name}" for name in ("truth", "folds") if getattr(report, name) is None),
        "title": escape(report.title),
        "css": css,
        "facts": _pairs(report.facts),
        "stats": _pairs(_stats(report)),
        "tables": "".join(_table(caption, table) for caption, table in report.tables.items()),
        "figures": "".join(_figure(caption, figure) for caption, figure in report.figures.items()),
        "js": js,
    }
    quality, shown = _choose(report, LIMIT - sum(map(len, texts.values())) - len(template))
    rest = "" if len(shown) == len(report.ids) else f"{len(shown):,} of {len(report.ids):,} tiles, evenly spread. "
    texts["note"] = f"{rest}Pictures are compressed (WebP, quality {quality} of 100), masks are exact."
    texts["data"] = _script(_columns(report, shown, quality))
    return re.sub(r"\{\{(\w+)\}\}", lambda match: texts[match[1]], template)  # in one pass: nothing is filled in twice


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(bytes.fromhex(digest(text))).decode()}"


def _script(value: object) -> str:
    """Write JSON that may stand inside <script>: no text in it ends the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _pairs(pairs: dict[str, str]) -> str:
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in pairs.items())


def _stats(report: Report) -> dict[str, str]:
    """Compute the few large numbers above the tables."""
    stats = {"tiles": f"{len(report.ids):,}"}
    if report.truth is not None:
        stats = {"mean score": f"{_scores(report).mean():.4f}"} | stats
        stats["with salt"] = _share(report.truth.any(axis=(1, 2)))
    return stats | {"predicted with salt": _share(report.predictions.any(axis=(1, 2)))}


def _share(chosen: np.ndarray) -> str:
    return f"{100 * chosen.mean():.1f} %"


def _scores(report: Report) -> np.ndarray:
    return points(report.truth, report.predictions) / 10 if report.scores is None else report.scores


def _table(caption: str, table: pd.DataFrame) -> str:
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in (table.index.name or "", *table.columns))
    rows = (
        f'<tr><th scope="row">{escape(str(name))}</th>{"".join(f"<td>{escape(_cell(v))}</td>" for v in values)}</tr>'
        for name, *values in table.itertuples(name=None)
    )
    return (
        f'<div class="table"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(value: object) -> str:
    if pd.isna(value):
        return "n/a"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _figure(caption: str, figure: Path | bytes) -> str:
    with refusals("read", figure, "draw it again, or leave it out"):
        content = figure if isinstance(figure, bytes) else Path(figure).read_bytes()
    text = escape(caption)
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


# ---- the tiles ---------------------------------------------------------------------------------------------


def _choose(report: Report, room: int) -> tuple[int, np.ndarray]:
    """Choose the quality, and the indices of the tiles, that make about `room` bytes."""
    n = len(report.ids)
    probe = _spread(n, PROBE)

    @cache
    def size(quality: int) -> int:
        """Estimate the bytes of all tiles."""
        return n * len(_script(_columns(report, probe, quality))) // max(len(probe), 1)

    fits = bisect_left(QUALITIES, True, key=lambda quality: size(quality) <= room)
    if fits < len(QUALITIES):
        return QUALITIES[fits], np.arange(n)
    return QUALITIES[-1], _spread(n, n * room // size(QUALITIES[-1]))


def _spread(n: int, most: int) -> np.ndarray:
    """Choose at most `most` of the indices 0 .. n - 1, evenly spread."""
    return np.linspace(0, n - 1, most).astype(int) if n > most else np.arange(n)


def _columns(report: Report, shown: np.ndarray, quality: int) -> dict[str, list]:
    """Gather what the page knows of the tiles `shown`: a list per quality of a tile, as report_tiles.js reads them."""
    predictions = report.predictions[shown]
    measured = predictions if report.truth is None else report.truth[shown]
    columns = {
        "ids": [report.ids[i] for i in shown],
        "coverage": (100 * measured.mean(axis=(1, 2))).round(2).tolist(),  # percent; the predicted, without truth
        "certainty": [round(float(np.abs(report.probabilities[i] / 127.5 - 1).mean()), 4) for i in shown],  # 0..1
        "images": _pictures((report.images[i] for i in shown), quality),
        "probabilities": _pictures((report.probabilities[i] for i in shown), quality),
        "predictions": [encode_rle(mask) for mask in predictions],
    }
    if report.truth is not None:
        columns["truth"] = [encode_rle(mask) for mask in measured]
        columns["scores"] = _scores(report)[shown].round(4).tolist()
        columns["kinds"] = error_kinds(measured, predictions).tolist()
    if report.folds is not None:
        columns["folds"] = [str(report.folds[i]) for i in shown]
    return columns


def _pictures(pictures: Iterable[np.ndarray], quality: int) -> list[str]:
    """Encode uint8 (N, H, W) as WebP files in base64."""
    with ThreadPoolExecutor() as pool:  # OpenCV works outside of Python's lock
        return list(pool.map(partial(_webp, quality=quality), pictures))


def _webp(picture: np.ndarray, quality: int) -> str:
    return base64.b64encode(cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]).decode()
