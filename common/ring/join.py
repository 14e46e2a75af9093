"""Which ring this process is part of."""

import os
from collections.abc import Callable

from common.ring.horovod import Ring
from common.ring.single import Solo, T


def in_ring(hvd: bool, train: Callable[["Solo"], T]) -> T:
    """Call `train` with the ring that this process is part of; `hvd=False` is a single process."""
    if hvd and os.environ.get("HOROVOD_ELASTIC") == "1":
        from common.ring.elastic import run_elastic

        return run_elastic(train)
    ring = Ring() if hvd else Solo()
    ring.claim_device()
    ring.watch()
    return train(ring)
