"""What is predicted, written: tiles into a submission, a section into a mask, and what else is asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.progress import bar
from common.ring.base import Ring
from data import probabilities as files
from data.rle import encode_rle
from data.seismic.sections import Section, write_pictures
from data.submission import write_submission
from data.tiles import read_ahead
from models.decision import salt_mask, tile_masks
from models.ensemble import Ensemble
from models.evaluation.report.contents import gray, report_submission
from models.predictor import share


@dataclass(frozen=True)
class Batch:
    """Tiles with what was predicted: images uint8, probabilities float32 0..1 and masks bool, all (B, 101, 101)."""

    ids: list[str]
    images: np.ndarray
    probabilities: np.ndarray
    masks: np.ndarray


def predict_tiles(ensemble: Ensemble, tiles: Mapping[str, Path], ring: Ring) -> Iterator[Batch]:
    """Predict tiles, id -> path, batch after batch; the ranks of `ring` share the work, and each gets all batches."""
    predictor = share(ensemble.predictor, ring)
    for ids, images, probabilities in predictor.each(read_ahead(tiles, predictor.batch_size)):
        yield Batch(ids, images, probabilities, tile_masks(probabilities, ensemble.threshold, ensemble.min_area))


def write_predictions(
    stem: Path,
    ensemble: Ensemble,
    ids: Sequence[str],
    batches: Iterable[Batch],
    *,
    probabilities: str | None,
    report: bool,
) -> tuple[dict[str, str], list[str]]:
    """Write the submission <stem>.csv, and what else is asked for; beyond the masks, only that is kept in memory.

    Args:
        ids: of all tiles, in the order of `batches`.
        probabilities: "npy" or "png": these as well.
        report: an HTML file as well.
    Returns:
        run lengths by id, and what the names of the further files end in.
    """
    masks: dict[str, str] = {}
    endings, shown = [], []  # the second for the report: images, probabilities and masks, uint8
    with ExitStack() as stack:
        if probabilities:
            endings.append(files.ENDINGS[probabilities])
            keep = stack.enter_context(files.writing_probabilities(f"{stem}{endings[-1]}", probabilities, ids))
        progress = stack.enter_context(bar("predict", len(ids)))
        for batch in batches:
            masks |= zip(batch.ids, map(encode_rle, batch.masks), strict=True)
            if probabilities:
                keep(batch.probabilities)
            if report:
                shown.append((batch.images, gray(batch.probabilities), batch.masks.astype(np.uint8)))
            progress.update(len(batch.ids))
        write_submission(f"{stem}.csv", masks)
        if report:
            endings.append(".html")
            images, grays, predictions = map(np.concatenate, zip(*shown, strict=True))
            report_submission(
                f"{stem}.html", ensemble, list(masks), images, probabilities=grays, predictions=predictions
            )
    return masks, endings


def write_section(
    stem: Path, section: Section, probabilities: np.ndarray, ensemble: Ensemble, *, kind: str | None
) -> tuple[np.ndarray, list[str]]:
    """Write a section's mask, a picture of it and, as `kind` ("npy" or "png") if any, its probabilities.

    What means nothing in the section is no salt. Returns the mask uint8 {0, 1} (H, W), and what the names end in, with
    that of the flags, which are still to be written.
    """
    probabilities[section.nothing] = 0  # in place: a section can be of gigabytes
    mask = salt_mask(probabilities, ensemble.threshold, ensemble.min_area)
    endings = [*write_pictures(stem, section.gray, mask), ".yaml"]
    if kind:
        endings.append(f"_probabilities.{kind}")
        files.write_section(f"{stem}{endings[-1]}", probabilities)
    return mask, endings
