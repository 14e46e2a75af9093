"""ImageNet weights: found, read and put into an encoder."""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "models.pretrained",
    {
        "models.pretrained.load": "Pretrained load_encoder",
        "models.pretrained.sources": "IMAGENET find_weights",
        "models.pretrained.files": "read_tensors",
    },
)
