"""A ring of processes joined by Horovod, under MPI or Gloo.

Horovod's DistributedOptimizer does nothing under Keras 3 (no error, no allreduce), which is why the training step
averages gradients itself, in one grouped allreduce.
"""

import json
import os
import socket

import numpy as np
import tensorflow as tf

from common.errors import InputError, SharedError
from common.ring.base import Ring
from common.ring.heartbeat import start_heartbeat


def import_horovod():
    """Load Horovod and set it up before its `init`; SharedError where it is not installed."""
    try:
        import horovod.tensorflow as hvd
    except ImportError as error:
        raise SharedError(
            f"Horovod is not installed ({error}); run ./install_horovod.sh, or train with tgs_train.py"
        ) from None
    if not tf.config.list_physical_devices("GPU"):
        # In parts of 4 MB resnet34's gradients took 45 ms between two processes of one machine; whole, 81 ms.
        os.environ.setdefault("HOROVOD_FUSION_THRESHOLD", str(4 << 20))
    return hvd


class HorovodRing(Ring):
    """One of several processes, joined by Horovod."""

    def __init__(self):
        hvd = import_horovod()
        from horovod.common.exceptions import HorovodInternalError

        hvd.init()
        self._hvd = hvd
        self._failures = (tf.errors.UnknownError, tf.errors.AbortedError, HorovodInternalError)
        self.rank, self.size = hvd.rank(), hvd.size()
        self.local_rank, self.local_size = hvd.local_rank(), hvd.local_size()

    def average(self, tensors, name):
        """Average over ranks in one grouped allreduce."""
        if self.size == 1:
            return tensors  # Horovod would copy them to and fro
        return self._call("grouped_allreduce", tensors, op=self._hvd.Average, name=name)

    def sum(self, values, name):
        return self._call("allreduce", tf.constant(values, tf.float64), op=self._hvd.Sum, name=name).numpy()

    def broadcast(self, variables):
        for k, variable in enumerate(variables):
            variable.assign(self._call("broadcast", variable, root_rank=0, name=f"variable_{k}"))

    def on_chief(self, job, *args, **kwargs):
        result = self.on_all(job, *args, **kwargs) if self.chief else self.on_all(lambda: None)
        return self._gather(result)[0]

    def on_all(self, job, *args, **kwargs):
        """Call `job` on every rank: one line, no hang or traceback, when it raises on one of them."""
        result, error = None, None
        try:
            result = job(*args, **kwargs)
        except InputError as refused:
            error = str(refused)
        for rank, (host, text) in enumerate(self._gather([socket.gethostname(), error])):
            if text:
                raise SharedError(f"rank {rank} on {host}: {text}" if rank else text)
        return result

    def check_same(self, facts):
        everyones = self._gather([socket.gethostname(), dict(facts)])
        chiefs = everyones[0][1]
        for rank, (host, theirs) in enumerate(everyones):
            for name, value in theirs.items():
                if value != chiefs[name]:
                    raise SharedError(
                        f"rank {rank} on {host} has the {name} {value}, rank 0 has {chiefs[name]}; make them the same"
                    )

    def admit_newcomers(self):
        """Do nothing: the ranks of an MPI job are those that it began with."""

    def watch(self) -> None:
        """End this process, from now on, when another rank no longer answers."""
        start_heartbeat(self.rank, self._gather)

    def _gather(self, value: object) -> list:
        """Collect every rank's value, by rank; through JSON, since what comes from a network is not unpickled."""
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        with tf.device("cpu"):
            sizes = self._call("allgather", tf.constant([len(text)]), name="sizes").numpy()
            texts = self._call("allgather", tf.constant(text), name="json").numpy()
        return [json.loads(part.tobytes()) for part in np.split(texts, np.cumsum(sizes)[:-1])]

    def _call(self, operation: str, tensor, *, name: str, **kwargs):
        """Call one of Horovod's operations, under a fixed name: unnamed ones can wait for each other for ever."""
        try:
            return getattr(self._hvd, operation)(tensor, name=f"Horovod_{name}", **kwargs)
        except self._failures as error:
            raise self._broken() from error

    def _broken(self) -> Exception:
        """Make the exception to raise when an operation fails because a rank is gone."""
        return InputError("another rank has ended, which may have said why; the same command goes on")
