"""Training: batches, augmentation, the step and its optimizer, validation, the state that resuming needs, logs.

`dir(training)` lists the names; docs/python.md shows them at work.
"""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "training",
    {
        "training.batches": "TrainingBatches",
        "training.cleaning": "RULES",
        "training.augment.distortions": "DISTORTIONS Distortion",
        "training.augment.augmenter": "AUGMENTATIONS Augmentation Augmenter",
        "training.learner": "Learner",
        "training.validation": "validate",
    },
)
