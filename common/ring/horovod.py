"""One process or many: `Solo` and `Ring` have the same methods, every rank calls them, and the callee decides.

A ring (Horovod under MPI, or Gloo) averages gradients with one grouped allreduce a step. Horovod's DistributedOptimizer
does nothing under Keras 3 (no error, no allreduce), which is why the training step calls `average` itself.
"""

import json
import os
import socket
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from common.errors import InputError, SharedError
from common.ring.heartbeat import start_heartbeat
from common.ring.single import Solo, T


def import_horovod():
    """Horovod's module, set up before its `init`; SharedError where it is not installed."""
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


class Ring(Solo):
    """One of several processes, joined by Horovod."""

    def __init__(self):
        hvd = import_horovod()
        from horovod.common.exceptions import HorovodInternalError

        hvd.init()
        self._hvd = hvd
        self._failures = (tf.errors.UnknownError, tf.errors.AbortedError, HorovodInternalError)
        self.rank, self.size = hvd.rank(), hvd.size()
        self.local_rank, self.local_size = hvd.local_rank(), hvd.local_size()

    def average(self, tensors: list[tf.Tensor], name: str) -> list[tf.Tensor]:
        """Mean over ranks, in one grouped allreduce; without a fixed name ranks can wait for each other for ever."""
        if self.size == 1:
            return tensors  # Horovod would copy them to and fro
        return self._call("grouped_allreduce", tensors, op=self._hvd.Average, name=name)

    def sum(self, values: np.ndarray, name: str) -> np.ndarray:
        """Sum over ranks, in float64."""
        return self._call("allreduce", tf.constant(values, tf.float64), op=self._hvd.Sum, name=name).numpy()

    def broadcast(self, variables: list[tf.Variable]) -> None:
        """Give every rank the chief's values."""
        for k, variable in enumerate(variables):
            variable.assign(self._call("broadcast", variable, root_rank=0, name=f"variable_{k}"))

    def on_chief(self, job: Callable[[], T]) -> T:
        """Run `job` on the chief: one line, no hang or traceback, when it raises."""
        result = self._share(job if self.chief else lambda: None)
        return self._gather(result)[0]

    def everywhere(self, job: Callable[[], T]) -> T:
        """Run `job` on every rank: one line, no hang or traceback, when it raises on one of them."""
        return self._share(job)

    def agree(self, facts: Callable[[], Mapping[str, object]]) -> None:
        """Compare the ranks' facts."""
        everyones = self._gather([socket.gethostname(), dict(facts())])
        chiefs = everyones[0][1]
        for rank, (host, theirs) in enumerate(everyones):
            for name, value in theirs.items():
                if value != chiefs[name]:
                    raise SharedError(
                        f"rank {rank} on {host} has the {name} {value}, rank 0 has {chiefs[name]}; make them the same"
                    )

    def watch(self) -> None:
        """Start this rank's heartbeat."""
        start_heartbeat(self.rank, self._gather)

    def _share(self, job: Callable[[], T]) -> T:
        """Run `job`; when it raises an InputError on any rank, all raise the first one, with the name of its rank."""
        try:
            result, error = job(), None
        except InputError as refused:
            result, error = None, str(refused)
        for rank, (host, text) in enumerate(self._gather([socket.gethostname(), error])):
            if text:
                raise SharedError(f"rank {rank} on {host}: {text}" if rank else text)
        return result

    def _gather(self, value: object) -> list:
        """Every rank's value, by rank; through JSON, since what comes from a network is not unpickled."""
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
        """What to raise when an operation fails because a rank is gone."""
        return InputError("another rank has ended, which may have said why; the same command goes on")
