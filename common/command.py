"""What the four commands share: one-line errors, exit codes, an end in time. Imports nothing heavy."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.errors import InputError, SharedError
from common.streams import make_streams_last, unsaid
from common.surroundings import settle

EXIT_INPUT = 2
LATER = 10  # seconds that the other ranks wait for the first to say what is wrong, as mostly all have found the same
GRACE = 8  # seconds from a signal to the end, whatever the main thread is busy with


class Interrupted(KeyboardInterrupt):
    """SIGINT (Ctrl-C) or SIGTERM; the process ends with 128 + `signal`, as shells expect."""

    def __init__(self, signum: int, frame: object = None):
        super().__init__(signum)
        self.signal = signum


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `Interrupted`; a process that has not ended GRACE seconds later just ends.

    Python runs handlers between two instructions of its main thread, which may be inside one long call into
    TensorFlow. All that is written is written aside and renamed, so to end at any moment is safe.
    """
    caught: list[Interrupted] = []

    def interrupt(signum, frame):
        caught.append(Interrupted(signum))
        raise caught[-1]

    here, there = socket.socketpair()
    there.setblocking(False)
    # What a shell ignores for its background jobs stays ignored.
    signals = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) != signal.SIG_IGN]
    before = {s: signal.signal(s, interrupt) for s in signals}
    woken = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)  # written to at once, from C
    over = threading.Event()

    def watch():
        with here:
            received = here.recv(1)
        if received and not over.wait(GRACE):
            os._exit(128 + received[0])

    threading.Thread(target=watch, name="interruptible", daemon=True).start()
    try:
        yield
    except BaseException:
        if caught:
            # Whatever compiled code in between has made of the signal (Horovod a RuntimeError), it is one. The clock
            # runs on: what ends with the process must end in time as well.
            raise caught[0] from None
        raise
    finally:
        if not caught:
            over.set()
        signal.set_wakeup_fd(woken)
        there.close()  # ends the thread
        for number, handler in before.items():
            signal.signal(number, handler)


def rank() -> int | None:
    """Tell this process's rank in a ring, None outside of one; known before Horovod is loaded."""
    found = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("HOROVOD_RANK") or ""
    return int(found) if found.isdecimal() else None


def run(main: Callable[[], object]) -> None:
    """Run a command's `main` and exit: 0 done, 2 wrong input (one line on stderr), 130 or 143 interrupted."""
    make_streams_last()
    try:
        settle()
        with interruptible():
            main()
    except SystemExit as end:
        if end.code:
            raise
    except KeyboardInterrupt as error:
        if not rank():
            print("interrupted; nothing is half-written, the same command goes on", file=sys.stderr)
        sys.exit(128 + getattr(error, "signal", signal.SIGINT))
    except Exception as error:
        if said := explain(error):
            fail(said, shared=isinstance(error, SharedError))
        if rank() is not None:
            print(f"rank {rank()} on {socket.gethostname()} failed:", file=sys.stderr)
        raise
    if reason := unsaid():
        fail(f"cannot write to standard output: {reason}")


def explain(error: Exception) -> str | None:
    """Say what is wrong and what to do, for an error that is not a defect of ours; None for one that is."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:  # a folder that may not be entered, a name too long
        return f"cannot read {error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed here; run make env, then use .venv/bin/python"
    # TensorFlow's ResourceExhaustedError, by name: TensorFlow need not be loaded.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "out of memory; lower --batch_size, or --target_size"
    return None


def fail(message: str, *, shared: bool = False) -> None:
    """Say in one line what is wrong, and exit with 2; in a ring, ranks but the first do so later, and say who they are.

    The launcher ends all ranks with the first that leaves: so what all have found is said once. What is `shared` all
    of them surely have, and only the first says it.
    """
    who = ""
    if rank():
        time.sleep(LATER)
        who = f"rank {rank()} on {socket.gethostname()}: "
    if not (who and shared):
        print("error:", who + " ".join(message.splitlines()), file=sys.stderr, flush=True)
    sys.exit(EXIT_INPUT)
