"""Networks with parts, of a size for tests."""

import pytest

from models import MODELS, PARTS, Architecture
from models.encoders.resnet import resnet

OF_TINY = [name for name, part in PARTS.items() if not part.encoder()]
TINY = "+".join(["tiny", *OF_TINY])  # with all the parts it takes
RESNET = "+".join(["resnet18", *PARTS])
SMALL = "small+" + "+".join(PARTS)  # with all parts; `with_small` puts it into the table


def with_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a ResNet of four blocks as "small"."""

    def encoder(x, *, pool=True, drop_path=0.0):
        return resnet(x, (1, 1, 1, 1), pool=pool, drop_path=drop_path)

    monkeypatch.setitem(MODELS, "small", Architecture(encoder, (16, 16, 16, 16, 16), options=("pool", "drop_path")))
