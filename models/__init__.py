"""Models: networks, losses, the competition's metric, the training step, the ring and checkpoints.

from models import make_model
net = make_model("resnet34", size=128)      # (B, 128, 128, 1) -> logits (B, 128, 128, 1)

`dir(models)` lists the names; docs/python.md shows them at work.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # read by Keras when it is first imported

from data.public import public_names
from models.unet import MODELS as MODELS  # with Keras, which data.command.load_tensorflow counts on

__getattr__, __dir__, __all__ = public_names(
    "models",
    {
        "unet": "MODELS Architecture logits_only make_model",
        "parts": "PARTS Part",
        "blocks": "conv_bn_relu convolve normalise",
        "chance": "Drop chance",
        "losses": "LOSSES make_loss",
        "learner": "Learner",
        "ring": "Solo",
        "validation": "validate",
        "metrics": "points score",
        "checkpoints": "load_model load_recipe save_weights",
        "predictor": "Predictor",
        "ensemble": "fold_files load_ensemble",
        "evaluation": "Evaluation",
    },
)
