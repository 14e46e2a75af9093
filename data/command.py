"""What the four commands share: strict flags, one-line errors, exit codes.

Imports nothing heavy, so that `--help` answers at once.
"""

import argparse
import difflib
import math
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from data.errors import InputError, SharedError

EXIT_INPUT = 2
GRACE = 8  # seconds from a signal to the end, whatever the main thread is busy with


def flag(text: str) -> bool:
    """Parse a boolean: True/False, 1/0, yes/no in any case (argparse's `type=bool` takes "False" for True)."""
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"'{text}' is not True or False") from None


def number(kind: type, low: float, high: float = float("inf")) -> Callable[[str], float]:
    """An argparse type: an int or float within [low, high]."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number of type {kind.__name__}") from None
        if not (low <= value <= high and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text} is outside {low} to {high}")
        return value

    return parse


def auto_or(parse: Callable[[str], float]) -> Callable[[str], float | str]:
    """An argparse type: the word `auto`, or what `parse` accepts."""
    return lambda text: text if text == "auto" else parse(text)


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors, no abbreviations and a suggestion for a misspelt flag."""

    def __init__(self, description: str | None = None):
        super().__init__(
            description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def flag(self, name: str, default: bool, help: str) -> None:
        """Add a boolean: `--name`, `--name=True`, `--name=False`."""
        self.add_argument(f"--{name}", nargs="?", const=True, default=default, type=flag, metavar="BOOL", help=help)

    def option(self, name: str, default, help: str, **kwargs) -> None:
        """Add a flag with a value; the help text names its default."""
        shown = f"{help} (default: {default})" if default not in (None, "") else help
        self.add_argument(f"--{name}", default=default, help=shown, **kwargs)

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            close = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1)
            self.error(f"unknown argument '{unknown[0]}'" + (f"; did you mean {close[0]}?" if close else ""))
        return parsed

    def error(self, message: str) -> None:
        """Say in one line what is wrong with the command line and exit with 2."""
        if rank():
            time.sleep(10)  # all ranks find the same: rank 0 says it, and the launcher ends the others meanwhile
        self.exit(EXIT_INPUT, f"error: {message} (see {self.prog} --help)\n")


def load_tensorflow() -> None:
    """Import TensorFlow and Keras without their start-up messages.

    TF_CPP_MIN_LOG_LEVEL does not reach what TensorFlow 2.21 writes before its logger starts, so stderr is held
    back during the import, and shown if that fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            import models  # noqa: F401
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
