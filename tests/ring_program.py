"""A rank of the ring under test: tgs_train.py's own main, then what this rank holds, as one line.

mpirun -np 2 python -m tests.ring_program [--without_norm] --hvd=True FLAGS
"""

import hashlib
import sys

import models.blocks
import models.encoders
import models.learner
import tgs_train
from models.learner import Learner

kept = []


class KeptLearner(Learner):
    """A Learner that stays reachable after training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        kept.append(self)


def main() -> None:
    arguments = sys.argv[1:]
    if "--without_norm" in arguments:
        # Batch statistics differ between 2 x B and 1 x 2B by nature; without them both must give the same weights.
        arguments.remove("--without_norm")
        models.encoders.normalise = models.blocks.normalise = lambda x, name: x
    models.learner.Learner = KeptLearner
    tgs_train.main(arguments)
    learner = kept[-1]
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for v in learner.variables)).hexdigest()
    # One write, so that the lines of the ranks do not mix.
    sys.stdout.write(f"HELD rank={learner._ring.rank} size={learner._ring.size} variables={digest}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
