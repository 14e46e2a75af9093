"""What an evaluation writes beside its tables and pictures when it is asked for: probabilities, and the report."""

from collections.abc import Mapping
from pathlib import Path

from data.probabilities import ENDINGS, writing_probabilities
from models.evaluation.evaluation import Evaluation
from models.evaluation.report.contents import report_evaluation

FIGURES = {"_training.png": "Training of each fold", ".png": "Score against threshold, minimum area and coverage"}


def write_further(
    stem: Path, evaluation: Evaluation, facts: Mapping[str, object], *, probabilities: str | None, report: bool
) -> list[str]:
    """Write <stem>_probabilities ("npy" or "png") and <stem>.html; returns what the names end in.

    `facts`: the flags that matter. The report shows the figures that `evaluation.write` has drawn.
    """
    endings = []
    if probabilities:
        endings.append(ENDINGS[probabilities])
        ids = evaluation.result.ids
        with writing_probabilities(f"{stem}{endings[-1]}", probabilities, ids, replace=True) as keep:
            keep(evaluation.result.probabilities)
    if report:
        endings.append(".html")
        drawn = {ending: caption for ending, caption in FIGURES.items() if evaluation.histories or ending == ".png"}
        figures = {caption: f"{stem}{ending}" for ending, caption in drawn.items()}
        report_evaluation(f"{stem}.html", evaluation, facts, figures)
    return endings
