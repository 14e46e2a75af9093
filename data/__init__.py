"""Data: reading and checking tiles, folds, input pipeline, augmentation, run-length encoding, sample data.

from data import read_fold
fold = read_fold("folds/fold_0")            # fold.train, fold.val: ids, images and masks uint8 (N, 101, 101)

`dir(data)` lists the names; docs/python.md shows them at work. To import this package loads nothing else.
"""

from data.public import public_names

__getattr__, __dir__, __all__ = public_names(
    "data",
    {
        "tiles": "TileSet read_tiles read_image read_mask",
        "folds": "Fold STRATIFICATIONS TGSDatasetPreprocessor coverage_class list_folds read_fold",
        "cleaning": "RULES",
        "mosaic": "mosaic_groups",
        "rle": "decode encode",
        "pipeline": "TrainingBatches",
        "distortions": "DISTORTIONS",
        "geometry": "DRAWS STD Geometry",
        "augmentation": "AUGMENTATIONS Augmenter",
        "sections": "predict_section read_section salt_mask",
        "sheets": "draw_tiles",
        "submission": "validate_submission write_submission",
        "sample": "make_sample",
        "errors": "InputError",
        "command": "run",
    },
)
