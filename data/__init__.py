"""Data: tiles in, submissions out: reading and checking tiles, folds, sections, run-length encoding, sample data.

from data import read_fold
fold = read_fold("folds/fold_0")            # fold.train, fold.val: ids, images and masks uint8 (N, 101, 101)

`dir(data)` lists the names; docs/python.md shows them at work. To import this package loads nothing else.
"""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "data",
    {
        "data.tiles": "TILE TileSet read_tiles read_image read_mask",
        "data.folds.fold": "Fold find_test_tiles list_folds read_fold",
        "data.folds.split": "STRATIFICATIONS TGSDatasetPreprocessor coverage_class",
        "data.folds.figures": "draw_folds draw_samples evenness",
        "data.folds.mosaic": "mosaic_groups",
        "data.rle": "decode_rle encode_rle",
        "data.seismic.sections": "find_sections load_section read_section write_pictures",
        "data.seismic.segy": "Survey is_segy",
        "data.sheets": "draw_tiles",
        "data.probabilities": "ENDINGS write_section writing_probabilities",
        "data.kaggle.zips": "UNPACKED",
        "data.submission": "check_submission count_tiles expected_ids reserved tiles_to_predict write_submission",
        "data.synthetic.tiles": "make_sample",
        "data.synthetic.survey": "make_survey",
        "common.errors": "InputError",
        "common.command": "run",
    },
)
