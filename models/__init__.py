"""Models: networks, losses, the competition's metric, the training step, the ring and checkpoints.

from models import make_model
net = make_model("resnet34", size=128)      # (B, 128, 128, 1) -> logits (B, 128, 128, 1)
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # read by Keras when it is first imported

from models.unet import MODELS, make_model

__all__ = ["MODELS", "make_model"]
