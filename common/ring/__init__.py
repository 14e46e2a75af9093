"""One process or many: a single process and a ring have the same methods, every rank calls them, the callee decides."""

from common.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    "common.ring",
    {
        "common.ring.base": "Ring",
        "common.ring.single": "SingleProcess",
        "common.ring.horovod": "HorovodRing",
        "common.ring.elastic": "run_elastic",
    },
)
