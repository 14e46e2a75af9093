#!/usr/bin/env python3
"""tgs_train.py with one process per GPU (or share of the cores), joined into a ring by Horovod under MPI.

    mpirun -np 3 -bind-to none -map-by slot -x NCCL_DEBUG=INFO -x LD_LIBRARY_PATH -x PATH -mca pml ob1 \\
        -mca btl ^openib python tgs_train_ring.py --hvd=True --data_path=folds/fold_0 --model=resnet34
    ./train_multi_gpu_ring.sh 3 --data_path=folds/fold_0 --model=resnet34        # the same, shorter

The flags are those of tgs_train.py; --batch_size is per process.
"""

from functools import partial

from common.command import run
from tgs_train import main

if __name__ == "__main__":
    run(partial(main, hvd=True))
