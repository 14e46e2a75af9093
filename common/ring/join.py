"""Joining the ring that this process is part of. Loads nothing heavy before it is asked to."""

import os
from collections.abc import Callable
from typing import TypeVar

from common import ring as rings

T = TypeVar("T")


def join(hvd: bool, job: Callable[["rings.Ring"], T], *, threads: int | None = None) -> T:
    """Call `job` with the ring that this process is part of, joined by Horovod; `hvd=False` is a single process.

    `threads`: of an operation on a CPU; None: a share of the cores.
    """
    if hvd and os.environ.get("HOROVOD_ELASTIC") == "1":
        return rings.run_elastic(job)
    ring = rings.HorovodRing() if hvd else rings.SingleProcess()
    ring.claim_device(threads)
    if hvd:
        ring.watch()
    return job(ring)
