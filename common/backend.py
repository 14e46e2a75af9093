"""Loading TensorFlow and Keras quietly, as this project needs them."""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

UNUSED = ("sklearn", "matplotlib.pyplot")  # what Keras imports where it is there, for wrappers and galleries


def load_tensorflow(*, verbose: bool = False) -> None:
    """Import TensorFlow and Keras, and list the devices once, without their messages unless `verbose`.

    TF_CPP_MIN_LOG_LEVEL does not reach what TensorFlow 2.21 writes before its logger starts, nor its complaint of a
    missing GPU driver, so stderr is held back meanwhile, and shown if the import fails. Keras comes without the
    wrappers and galleries that nothing here uses: a second less. Their packages can be imported afterwards as ever.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose else "3")
    first = "keras" not in sys.modules  # in a notebook or a test it may be there already
    held = nullcontext() if verbose else _stderr_held()
    with _uncollected() if first else nullcontext(), _missing(*UNUSED), held:
        import tensorflow as tf

        os.environ["KERAS_BACKEND"] = "tensorflow"  # read when Keras is imported
        import keras  # noqa: F401

        tf.config.list_physical_devices()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from searching again and again through what is made meanwhile: a million objects.

    They are not frozen for good: with gc.freeze() an interrupted training crashed as its interpreter ended.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _missing(*names: str) -> Iterator[None]:
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
    with tempfile.TemporaryFile() as held:
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
