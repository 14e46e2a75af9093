"""Seismic data of any size: sections and SEG-Y surveys, read to tiles' gray levels and written back."""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "data.seismic",
    {
        "data.seismic.amplitudes": "Stretch describe_gray",
        "data.seismic.sections": "Section find_sections load_section outline read_section write_pictures",
        "data.seismic.segy": "Survey is_segy",
    },
)
