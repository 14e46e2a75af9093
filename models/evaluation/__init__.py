"""How good weights are: out of fold, with tables, pictures and a report."""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "models.evaluation",
    {
        "models.evaluation.evaluation": "Evaluation",
        "models.evaluation.out_of_fold": "OutOfFold by_coverage search",
        "models.evaluation.further": "write_further",
    },
)
