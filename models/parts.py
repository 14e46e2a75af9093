"""Parts of a network that a name adds to an encoder, such as `resnet34+scse+hypercolumn`.

A part changes what the network is made of at one place or several, and leaves the rest as it is.
"""

from keras import KerasTensor, layers

from models.blocks import Enlarge, make_logits
from models.encoders.resnet import Features
from models.randomness import SpatialDropout

REDUCTION = 2  # of channels in scSE's squeeze: the paper's choice
DROPOUT = 0.2  # share of channels
DROP_PATH = 0.2  # of the last block; the paper has 0.5 for 54 blocks


class Part:
    """What a part may change; each method leaves things as they are."""

    @property
    def about(self) -> str:
        """Describe the part in a line for `--model=list`."""
        return (self.__doc__ or "no docstring").splitlines()[0]

    def encoder(self) -> dict[str, object]:
        """Give keyword arguments for the encoder, which must know them."""
        return {}

    def decoder(self) -> dict[str, object]:
        """Give keyword arguments for the decoder."""
        return {}

    def stage(self, x: KerasTensor, name: str) -> KerasTensor:
        """Change what the decoder's stage `name` puts out, (B, H, W, C)."""
        return x

    def tops(self, tops: Features, stages: Features) -> Features:
        """Change the features, by stride, whose enlarged logits are summed, given all stages; at first the last one."""
        return tops

    def heads(self, features: Features, stages: Features) -> list[KerasTensor]:
        """Add outputs, for training only, to the encoder's features and the decoder's stages by stride."""
        return []


class NoPool(Part):
    """The stem without ResNet's max-pool, or EfficientNet-Lite's stride: features of four times as many pixels."""

    def encoder(self) -> dict[str, object]:
        """Leave out what halves the stem's sides."""
        return {"pool": False}


class StochasticDepth(Part):
    """Residual blocks left out at random, the last a fifth of the time (Huang et al., 2016, arXiv:1603.09382)."""

    def encoder(self) -> dict[str, object]:
        """Give the rate of the last block, to which the others' grow."""
        return {"drop_path": DROP_PATH}


class SubPixel(Part):
    """No decoder stage at stride 1: each pixel at stride 2 has four logits (Shi et al., 2016, arXiv:1609.05158)."""

    def decoder(self) -> dict[str, object]:
        """End at stride 2."""
        return {"last": 2}


class Scse(Part):
    """Squeeze and excitation of channels and pixels in each decoder stage (Roy et al., 2018, arXiv:1803.02579)."""

    def stage(self, x: KerasTensor, name: str) -> KerasTensor:
        """Add x times a gate a channel and x times a gate a pixel, gates in 0..1."""
        name, filters = f"{name}.scse", x.shape[-1]
        squeezed = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}.mean")(x)  # (B, 1, 1, C)
        squeezed = layers.Conv2D(
            filters // REDUCTION, 1, activation="relu", kernel_initializer="he_normal", name=f"{name}.squeeze"
        )(squeezed)
        channel = layers.Conv2D(filters, 1, activation="sigmoid", name=f"{name}.channel")(squeezed)  # (B, 1, 1, C)
        space = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}.space")(x)  # (B, H, W, 1)
        gate = layers.Add(name=f"{name}.gate")([channel, space])  # (B, H, W, C)
        return layers.Multiply(name=f"{name}.product")([x, gate])


class Hypercolumn(Part):
    """Logits from all decoder stages (Hariharan et al., 2015, arXiv:1411.5752), enlarged after their convolution."""

    def tops(self, tops: Features, stages: Features) -> Features:
        """Take every stage: logits are linear, so those of each are summed at full size, as the paper does."""
        return stages


class Dropout(Part):
    """A fifth of the channels before the logits dropped at random (Tompson et al., 2015, arXiv:1411.4280)."""

    def tops(self, tops: Features, stages: Features) -> Features:
        """Drop channels of each while training."""
        return {stride: SpatialDropout(DROPOUT, name=f"dropout.stride{stride}")(x) for stride, x in tops.items()}


class Deep(Part):
    """Coarser stages' masks, and "is there salt", in the training loss (Lee et al., 2015, arXiv:1409.5185)."""

    def heads(self, features: Features, stages: Features) -> list[KerasTensor]:
        """Build logits float32 of "any salt" (B, 1), then of each coarser stage (B, S, S, 1); see models.losses."""
        deepest = layers.GlobalAveragePooling2D(dtype="float32", name="deep.mean")(features[max(features)])
        found = [layers.Dense(1, dtype="float32", name="deep.salt")(deepest)]
        for stride in sorted(stages, reverse=True)[:-1]:
            name = f"deep.stride{stride}"
            y = Enlarge(stride, name=f"{name}.enlarge")(make_logits(stages[stride], 1, name=name))
            found.append(layers.Activation("linear", dtype="float32", name=f"{name}.float32")(y))
        return found


PARTS: dict[str, Part] = {  # in the order in which a name has them, and a network applies them
    "nopool": NoPool(),
    "droppath": StochasticDepth(),
    "subpixel": SubPixel(),
    "scse": Scse(),
    "hypercolumn": Hypercolumn(),
    "dropout": Dropout(),
    "deep": Deep(),
}
