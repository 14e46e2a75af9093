"""A ring whose ranks may go and come while it trains: Horovod's elastic mode, under `horovodrun` over Gloo.

When a rank dies, the operation that the others are in fails; when one has come, they notice at the end of an epoch.
Either way all of them join a new ring and call the training again, which resumes after the last finished epoch: a rank
that stayed does just what one does that has come. Since the first rank of the new ring may be another process than
before, `--weights_path` must lie where every machine sees it.
"""

import os
from collections.abc import Callable

import tensorflow as tf

from common.locks import take_first_free
from common.ring.base import Ring, T
from common.ring.horovod import HorovodRing, import_horovod


def run_elastic(job: Callable[[Ring], T]) -> T:
    """Call `job(ring)` until it returns, again with a new ring whenever ranks have gone or come."""
    hvd = import_horovod()
    from horovod.common.elastic import State, run_fn

    class Members(State):
        """Horovod's notice of ranks that have come. What training changes lies on disk, not in here."""

        def save(self) -> None:
            pass

        restore = sync = save

    def rejoin() -> None:
        hvd.shutdown()
        hvd.init()

    hvd.init()
    claimed = False

    def run(members: State) -> T:
        nonlocal claimed
        ring = ElasticRing(members)
        if not claimed:
            ring.claim_device()
            claimed = True
        return job(ring)

    return run_fn(run, rejoin)(Members(hvd.broadcast_object, hvd.rank))


class ElasticRing(HorovodRing):
    """A ring that ends, for another to begin, when a rank has gone or come."""

    def __init__(self, members):
        super().__init__()
        self._members = members
        os.environ["HOROVOD_RANK"] = str(self.rank)  # for messages: the launcher's value is of the first ring

    def admit_newcomers(self):
        """Begin anew with the ranks that have come, if any."""
        try:
            self._members.check_host_updates()
        except self._failures as error:
            raise self._broken() from error

    def claim_device(self) -> None:
        """Take a GPU that no other process of this machine has, or a share of the cores."""
        # horovodrun gives up a host of which one process has died, so each process is its own "host" and the first
        # on it: local ranks say nothing here.
        self.local_rank = take_first_free("tgs-gpu", len(tf.config.list_physical_devices("GPU")))
        self.local_size = self.size
        super().claim_device()

    def _broken(self) -> Exception:
        return self._failures[-1]("a rank is gone")
