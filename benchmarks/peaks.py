"""How fast a machine multiplies matrices and moves memory, measured or by its datasheet: the floor's two limits."""

import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """`peak`: operations/s by data type, an addition and a multiplication being two; `bandwidth`: bytes/s of memory."""

    peak: Mapping[str, float]
    bandwidth: float


# NVIDIA's H100 datasheet, SXM: 989 (TF32, which TensorFlow takes for float32) and 1,979 TFLOP/s (bfloat16), both with
# sparsity, that is twice the dense speed; 3.35 TB/s.
H100 = Machine({"float32": 494.5e12, "bfloat16": 989e12}, 3.35e12)


def multiplier(dtype: str, side: int) -> Callable[[], float]:
    """A function that measures the operations/s of multiplying (side, side) matrices on TensorFlow's device."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_normal((side, side), (1, 2)) / side**0.5, dtype)  # products keep their size
    count = 4

    @tf.function
    def power(x):
        for _ in range(count):
            x = tf.matmul(matrix, x)
        return tf.reduce_sum(x)

    return lambda: 2 * side**3 * count / _least_seconds(lambda: power(matrix).numpy())


def adder(elements: int) -> Callable[[], float]:
    """A function that measures the bytes/s of a += b, which reads two and writes one, in float32."""
    import tensorflow as tf

    a, b = tf.Variable(tf.ones(elements)), tf.ones(elements)
    count = 4

    def add():
        for _ in range(count):
            a.assign_add(b)
        return a[0].numpy()  # waits for the device

    return lambda: 3 * 4 * elements * count / _least_seconds(add)


def _least_seconds(call: Callable[[], object], times: int = 3) -> float:
    """The least of several durations: a limit is wanted, and whatever disturbs only adds."""
    call()
    return min(timeit.repeat(call, number=1, repeat=times))
