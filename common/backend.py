"""Loading TensorFlow and Keras: quietly, quickly, and as this toolkit needs them, whatever a user has set."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

# What Keras, and the old one inside TensorFlow, import where it is there, for wrappers, galleries and sparse matrices
# that nothing here uses: 0.9 of 2.8 seconds.
UNUSED = ("sklearn", "matplotlib", "matplotlib.pyplot", "scipy.sparse")


def load_tensorflow(*, verbose: bool = False) -> None:
    """Import TensorFlow and Keras, and list the devices once, without their messages unless `verbose`.

    TF_CPP_MIN_LOG_LEVEL does not reach what TensorFlow 2.21 writes before its logger starts, nor its complaint of a
    missing GPU driver, so stderr is held back meanwhile, and shown if the import fails.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0" if verbose else "3"
    first = "keras" not in sys.modules  # in a notebook or a test it may be there already
    held = nullcontext() if verbose else _stderr_held()
    with uncollected() if first else nullcontext(), missing(*UNUSED), _keras_of_ours(), held:
        import tensorflow as tf  # and Keras with it

        tf.config.list_physical_devices()


@contextmanager
def _keras_of_ours() -> Iterator[None]:
    """Let Keras load on TensorFlow, without a keras.json, which may be of another project and for another backend.

    Keras writes one where there is none: it finds no place for it.
    """
    before = os.environ.get("KERAS_HOME")
    os.environ |= {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull}
    try:
        yield
    finally:
        os.environ.pop("KERAS_HOME")
        os.environ |= {} if before is None else {"KERAS_HOME": before}


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from searching again and again through what is made meanwhile: a million objects.

    They are not frozen for good: with gc.freeze() an interrupted training crashed as its interpreter ended.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def missing(*names: str) -> Iterator[None]:
    """Let an import meanwhile fail as it does where these modules are not installed, but for those already imported."""
    names = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


@contextmanager
def _stderr_held() -> Iterator[None]:
    """Hold back what this process writes to stderr, from compiled code too; shown when an exception passes."""
    sys.stderr.flush()
    with open(os.memfd_create("stderr"), "r+b") as held:  # in memory: there may be no folder for temporary files
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # an interruption says nothing of TensorFlow
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
