"""One HTML file about a prediction, for any browser."""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "models.evaluation.report",
    {
        "models.evaluation.report.page": "Report write_report",
        "models.evaluation.report.contents": "report_evaluation report_submission",
    },
)
