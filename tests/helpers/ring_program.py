"""A rank of the ring under test: tgs_train.py's own main, then what this rank holds, as one line.

mpirun -np 2 python -m tests.helpers.ring_program [--without_norm] [--no_memory] --hvd=True FLAGS
"""

import hashlib
import os
import sys
from functools import partial

import tensorflow as tf

import models.blocks
import models.encoders.resnet
import tgs_train
import training.learner
from common.command import run
from training.learner import Learner

kept = []


class KeptLearner(Learner):
    """A Learner that stays reachable after training."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        kept.append(self)


class HungryLearner(KeptLearner):
    """A Learner that needs more memory in its second epoch than there is."""

    def train_epoch(self, batches, epoch, *args):
        if epoch == 1:
            tf.zeros([1 << 45])
        return super().train_epoch(batches, epoch, *args)


def main() -> None:
    arguments = sys.argv[1:]
    training.learner.Learner = KeptLearner
    if "--no_memory" in arguments:
        arguments.remove("--no_memory")
        training.learner.Learner = HungryLearner
    if "--without_norm" in arguments:
        # Batch statistics differ between 2 x B and 1 x 2B by nature; without them both must give the same weights.
        arguments.remove("--without_norm")
        models.encoders.resnet.batch_norm = models.blocks.batch_norm = lambda x, name: x
    run(partial(tgs_train.main, arguments))
    learner = kept[-1]
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for v in learner.variables)).hexdigest()
    # One write, so that the lines of the ranks do not mix.
    rank, size = (os.environ.get(f"OMPI_COMM_WORLD_{name}") for name in ("RANK", "SIZE"))
    sys.stdout.write(f"HELD rank={rank} size={size} variables={digest}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
