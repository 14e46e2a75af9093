"""Models: networks and their weights, what they predict, how good that is.

from models import make_model
net = make_model("resnet34", size=128)      # (B, 128, 128, 1) -> logits (B, 128, 128, 1)

`dir(models)` lists the names; docs/python.md shows them at work.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # read by Keras when it is first imported

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "models",
    {
        "models.unet": "MODELS Architecture list_models logits_only make_model",
        "models.parts": "PARTS Part",
        "models.blocks": "conv_bn_relu convolve batch_norm",
        "models.randomness": "DropPath SpatialDropout step_random",
        "models.losses": "LOSSES list_losses make_loss",
        "models.geometry": "DRAWS STD Geometry",
        "models.metrics": "points score",
        "models.weights": "ENDING Recipe load_model load_recipe save_weights versions",
        "models.predictor": "Predictor",
        "models.ensemble": "Ensemble fold_files fold_of list_trained load_ensemble",
        "models.decision": "salt_mask",
        "models.windows": "count_windows predict_section",
        "models.submit": "predict_tiles write_predictions write_section",
        "models.walk": "Walk",
        "models.volumes": "Unfinished predict_lines",
        "models.export": "export_predictor",
        "models.evaluation.evaluation": "Evaluation",
        "models.evaluation.further": "write_further",
    },
)
