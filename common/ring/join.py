"""Joining the ring that this process is part of."""

import os
from collections.abc import Callable

from common.ring.base import Ring, T
from common.ring.horovod import HorovodRing
from common.ring.single import SingleProcess


def join(hvd: bool, job: Callable[[Ring], T]) -> T:
    """Call `job` with the ring that this process is part of, joined by Horovod; `hvd=False` is a single process."""
    if hvd and os.environ.get("HOROVOD_ELASTIC") == "1":
        from common.ring.elastic import run_elastic

        return run_elastic(job)
    ring = HorovodRing() if hvd else SingleProcess()
    ring.claim_device()
    if hvd:
        ring.watch()
    return job(ring)
