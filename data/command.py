"""What the four commands share: one-line errors, exit codes, an end in time. Imports nothing heavy."""

import gc
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from data.errors import InputError, SharedError

EXIT_INPUT = 2
UNUSED = ("sklearn", "matplotlib.pyplot")  # what Keras imports where it is there, for wrappers and galleries
GRACE = 8  # seconds from a signal to the end, whatever the main thread is busy with


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

        import models  # noqa: F401, sets Keras' backend before it is read

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


class Interrupted(KeyboardInterrupt):
    """SIGINT (Ctrl-C) or SIGTERM; the process ends with 128 + `signal`, as shells expect."""

    def __init__(self, signum: int, frame: object = None):
        super().__init__(signum)
        self.signal = signum


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `Interrupted`; a process that cannot raise it within GRACE seconds just ends.

    Python runs handlers between two instructions of its main thread, which may be inside one long call into
    TensorFlow. All that is written is written aside and renamed, so to end at any moment is safe.
    """

    caught: list[Interrupted] = []

    def interrupt(signum, frame):
        caught.append(Interrupted(signum))
        raise caught[-1]

    # What a shell ignores for its background jobs stays ignored.
    signals = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) != signal.SIG_IGN]
    here, there = socket.socketpair()
    there.setblocking(False)
    before = {s: signal.signal(s, interrupt) for s in signals}
    woken = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)  # written to at once, from C
    over = threading.Event()

    def watch():
        received = here.recv(1)
        if received and not over.wait(GRACE):
            os._exit(128 + received[0])

    threading.Thread(target=watch, name="interruptible", daemon=True).start()
    try:
        yield
        over.set()
    except BaseException:
        if not caught:
            over.set()
            raise
        # The clock runs on: what ends with the process must end in time as well. Whatever compiled code in between
        # has made of the signal (Horovod a RuntimeError), it is one.
        raise caught[0] from None
    finally:
        signal.set_wakeup_fd(woken)
        there.close()  # ends the thread
        for number, handler in before.items():
            signal.signal(number, handler)


def rank() -> int | None:
    """This process's rank in a ring, None outside of one; known before Horovod is loaded."""
    found = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("HOROVOD_RANK")
    return int(found) if found else None


def run(main: Callable[[], object]) -> None:
    """Run a command's `main` and exit: 0 done, 2 wrong input (one line on stderr), 130 or 143 interrupted."""
    try:
        with interruptible():
            main()
    except SharedError as error:
        fail(str(error), silent=bool(rank()))
    except InputError as error:
        fail(str(error))
    except OSError as error:  # a folder that may not be entered, a name too long
        if error.filename is None:
            raise
        fail(f"cannot read {error.filename}: {error.strerror}")
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed here; run make env, then use .venv/bin/python")
    except KeyboardInterrupt as error:
        if not rank():
            print("interrupted; nothing is half-written, the same command goes on", file=sys.stderr)
        sys.exit(128 + getattr(error, "signal", signal.SIGINT))
    except Exception as error:
        # TensorFlow's ResourceExhaustedError, by name: TensorFlow need not be loaded.
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            fail("out of memory; lower --batch_size, or --target_size")
        if rank() is not None:
            print(f"rank {rank()} on {socket.gethostname()} failed:", file=sys.stderr)
        raise


def fail(message: str, *, silent: bool = False) -> None:
    """Say in one line what is wrong, and in a ring which rank says it, and exit with 2."""
    if not silent:
        who = f"rank {rank()} on {socket.gethostname()}: " if rank() else ""
        print("error:", who + " ".join(message.splitlines()), file=sys.stderr, flush=True)
    sys.exit(EXIT_INPUT)
