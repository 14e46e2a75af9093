"""What goes into the HTML report of an evaluation and of a submission."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np

from models.decision import tile_masks
from models.ensemble import Ensemble
from models.evaluation.evaluation import Evaluation
from models.evaluation.report.page import Report, write_report
from models.weights import versions


def report_evaluation(
    path: str | Path, evaluation: Evaluation, facts: Mapping[str, object], figures: Mapping[str, str | Path]
) -> None:
    """Write the report of an out-of-fold evaluation: predictions and scores at threshold 0.5, as the headline score.

    `facts`: the flags that matter; `figures`: caption -> the pictures to show.
    """
    result, found = evaluation.result, evaluation.found
    about = {
        "score": f"{evaluation.scores.mean():.4f} out of fold, threshold 0.5, no minimum area",
        "tiles": f"{len(result.ids)} of {len(evaluation.per_fold)} fold(s), each predicted by the weights of its fold",
        "best decision": f"threshold {found.threshold}, minimum area {found.min_area}: {found.score:.4f}, optimistic",
    }
    write_report(
        path,
        Report(
            title=f"{facts['model']}, {facts['pick']} weights, out of fold",
            facts=about | _origin(facts),
            ids=result.ids,
            images=evaluation.images,
            probabilities=gray(result.probabilities),
            predictions=tile_masks(result.probabilities, 0.5, 0).astype(np.uint8),
            folds=result.folds,
            truth=result.truth,
            scores=evaluation.scores,
            tables={
                "Score by fold": evaluation.per_fold.round(4),
                "Score by share of salt in the tile": evaluation.per_class.round(4),
            },
            figures={caption: Path(figure) for caption, figure in figures.items()},
        ),
    )


def report_submission(
    path: str | Path,
    ensemble: Ensemble,
    ids: list[str],
    images: np.ndarray,
    *,
    probabilities: np.ndarray,
    predictions: np.ndarray,
) -> None:
    """Write the report of a submission: `probabilities` (255 = certainly salt) like the rest uint8 (N, 101, 101)."""
    salt = np.count_nonzero(predictions.any(axis=(1, 2)))
    scores = ", ".join(f"{recipe.fold} {recipe.score:.4f}" for recipe in ensemble.recipes)
    about = {
        "tiles": f"{len(ids)}, {salt} of them with salt",
        "predicted": str(ensemble),
        "validation scores": scores,
    }
    write_report(
        path,
        Report(
            title=f"Submission by {ensemble.name}",
            facts=about | _origin({}),
            ids=ids,
            images=images,
            probabilities=probabilities,
            predictions=predictions,
        ),
    )


def gray(probabilities: np.ndarray) -> np.ndarray:
    """Convert probabilities 0..1 to uint8, 255 = certainly salt, without a copy of all of them in float."""
    gray = np.empty(probabilities.shape, np.uint8)
    for tile, out in zip(probabilities, gray, strict=True):
        out[:] = np.rint(tile * np.float32(255))
    return gray


def _origin(facts: Mapping[str, object]) -> dict[str, str]:
    """List the rest of the flags that matter, and when and by what the report was made."""
    return {
        **{name: str(value) for name, value in facts.items() if name not in ("model", "pick")},
        "made": f"{datetime.now():%Y-%m-%d %H:%M}, code {versions()['commit']}, TensorFlow {versions()['tensorflow']}",
    }
