"""Encoders: an image in, features at strides 2, 4, 8, 16 and 32 out, highest resolution first."""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "models.encoders",
    {
        "models.encoders.resnet": "Features tiny",
        "models.encoders.efficientnet": "efficientnet_lite efficientnet_v2 from_keras",
    },
)
