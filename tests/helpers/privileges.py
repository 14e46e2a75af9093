"""Permission bits mean nothing to root: tests of an unreadable file give this privilege up (elsewhere a no-op)."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
PR_CAPBSET_DROP = 24
VERSION = 0x20080522  # of the structures below: two words of each set

libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Let permission bits count for this thread and those started inside; subprocesses: `preexec_fn=drop_for_good`."""
    if not _is_root():
        yield
        return
    header = (ctypes.c_uint32 * 2)(VERSION, 0)  # 0: this thread
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; for capabilities 0..31, then 32..63
    _call(libc.capget, header, before)
    without = type(before)(*before)
    without[0] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    _call(libc.capset, header, without)
    try:
        yield
    finally:
        _call(libc.capset, header, before)


def drop_for_good() -> None:
    """Between fork and exec: let permission bits count for the program that is started and its children."""
    if _is_root():
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            _call(libc.prctl, PR_CAPBSET_DROP, capability, 0, 0, 0)


def _is_root() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


def _call(function, *args: object) -> None:
    if function(*args) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
