"""Training: batches, augmentation, the step and its optimizer, validation, the state that resuming needs, logs.

`dir(training)` lists the names; docs/python.md shows them at work.
"""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "training",
    {
        "training.settings": "Settings",
        "training.flags": "training_parser",
        "training.inputs": "read_settings read_tiles",
        "training.batches": "TrainingBatches",
        "training.cleaning": "RULES list_rules",
        "training.augment.distortions": "DISTORTIONS Distortion",
        "training.augment.augmenter": "AUGMENTATIONS Augmentation Augmenter list_augmentations",
        "training.learner": "Epoch Learner",
        "training.validation": "Validation validate",
        "training.teachers": "describe_pretraining make_teachers",
        "training.state": "Progress",
        "training.outputs": "Outputs",
        "training.forecast": "forecast_training",
        "training.compile_cache": "keep_compiled",
    },
)
