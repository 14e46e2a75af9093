"""Seismic data made up: tiles with salt in Kaggle's layout, and surveys. `python -m data.sample` writes them."""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "data.synthetic",
    {
        "data.synthetic.tiles": "make_sample make_section make_tiles sample_sheet",
        "data.synthetic.survey": "make_survey",
    },
)
