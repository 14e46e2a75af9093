"""What this process computes on: one GPU, or a share of the cores."""

import contextlib
import os

import tensorflow as tf


def claim_device(local_rank: int = 0, local_size: int = 1, threads: int | None = None) -> None:
    """Take GPU number `local_rank` (memory as needed) or, where there is none, one of `local_size` shares of the cores.

    `threads`: of an operation on a CPU, instead of that share. Must run before TensorFlow touches a device.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        mine = gpus[local_rank % len(gpus)]
        tf.config.set_visible_devices(mine, "GPU")
        tf.config.experimental.set_memory_growth(mine, True)
    elif threads or local_size > 1:
        threads = threads or max(1, len(os.sched_getaffinity(0)) // local_size)
        with contextlib.suppress(RuntimeError):  # in a notebook it may have started: it keeps what it has
            tf.config.threading.set_intra_op_parallelism_threads(threads)


def device_name() -> str:
    """Name the device in words, such as "CPU, 2 cores"."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        cores = len(os.sched_getaffinity(0))
        return f"CPU, {cores} core{'s' * (cores > 1)}"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
