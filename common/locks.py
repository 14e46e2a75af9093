"""Locks between processes, here or on machines that share a disk: they end with their process, however that ends."""

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from common.errors import InputError, refusals
from common.files import UNSUPPORTED, make_folder, warn_once

WAIT, AGAIN = 0.05, 0.01  # seconds: to try again where a holder has just removed the file that was opened


@contextmanager
def held(folder: str | Path) -> Iterator[None]:
    """Keep `folder` for this process by a lock on its file `.lock`, which says who holds it.

    A file that a killed process has left stops nobody. Where the file system has no locks, this says so and goes on.

    Raises:
        InputError: another process has it (the message says which), or the file cannot be made.
    """
    path = make_folder(folder) / ".lock"
    lock = _file_lock(path, timeout=WAIT)
    with refusals("write", path, "choose another folder"):
        try:
            lock.acquire()
        except Timeout:
            raise InputError(
                f"{path.parent} is in use by {_holder(path)}; wait until that ends, or let this run write elsewhere"
            ) from None
        except OSError as error:
            if error.errno not in {*UNSUPPORTED, errno.ENOLCK}:
                raise
            warn_once(f"{path.parent} is on a file system without locks; let no other run write there")
    try:
        with contextlib.suppress(OSError):  # a full disk is no reason not to hold it
            path.write_text(
                f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n"
            )
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is still ours: who waits for it finds that, and makes a new one
        lock.release()


def _file_lock(path: Path, timeout: float) -> FileLock:
    """Make a lock that lives in the system, not in a file's existence: it cannot be left behind."""
    return FileLock(path, timeout=timeout, poll_interval=AGAIN, fallback_to_soft=False)


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
    return "another process"


_kept: list[FileLock] = []  # as long as the process lives


def take_first_free(name: str, count: int) -> int:
    """Take the first of `count` places that no other process of this user has, until this one ends; 0 if all are."""
    for k in range(count):
        lock = _file_lock(Path(tempfile.gettempdir(), f"{name}-{os.getuid()}-{k}.lock"), timeout=0)
        with contextlib.suppress(OSError):  # taken; or a folder where there are no locks
            lock.acquire()
            _kept.append(lock)
            return k
    return 0
