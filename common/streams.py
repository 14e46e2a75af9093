"""Standard streams that outlast whoever reads them: a closed pipe or terminal, or a full disk, ends no run."""

import contextlib
import errno
import io
import os
import sys
from pathlib import Path

KEPT = 1 << 16  # bytes that nobody could read, kept until there is a log for them

_lost: dict[str, OSError] = {}  # by stream: why it can no longer be written to
_unread = bytearray()
_log: Path | None = None


class Lasting(io.FileIO):
    """The file of a standard stream. When it can no longer be written to, what is written goes to the log instead."""

    def __init__(self, descriptor: int, title: str):
        super().__init__(descriptor, "w", closefd=False)
        self._title = title

    def write(self, data) -> int:
        """Write some of `data` to the stream, or all of it to the log; never raises."""
        if self._title not in _lost:
            try:
                written = super().write(data)
                if written is None:  # full, and made non-blocking by somebody who shares it
                    os.set_blocking(self.fileno(), True)
                    written = super().write(data)
                return written or 0
            except OSError as error:
                lose(self._title, error)
        if b"\r" not in bytes(data):  # a progress bar is for a terminal alone
            _to_log(bytes(data))
        return len(data)


def make_streams_last() -> None:
    """Replace stdout and stderr of this process, unless a program has put others there, by ones that never fail.

    They write UTF-8, whatever the locale is. What was closed is opened on nothing: the next file that is opened
    would otherwise take its number, and get what compiled code writes to "stderr".
    """
    for descriptor, title in enumerate(("standard input", "standard output", "standard error")):
        try:
            os.fstat(descriptor)
        except OSError as error:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            if descriptor:
                lose(title, error)
    sys.stdout = _lasting(sys.stdout, sys.__stdout__, 1, "standard output")
    sys.stderr = _lasting(sys.stderr, sys.__stderr__, 2, "standard error")


def _lasting(stream, original, descriptor: int, title: str):
    if stream is not original:
        return stream
    if stream is not None:
        stream.flush()
    file = io.BufferedWriter(Lasting(descriptor, title))
    buffered = {"line_buffering": stream.line_buffering, "write_through": stream.write_through} if stream else {}
    return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", **buffered)


def lose(title: str, error: OSError) -> None:
    """Note, in the log too, that a stream can no longer be written to."""
    _lost[title] = error
    _to_log(f"{title} can no longer be written to ({error.strerror}); what it would say follows\n".encode())


def log_to(path: Path) -> None:
    """Append to the file `path` what nobody could read so far, and will not be able to read from now on."""
    global _log  # noqa: PLW0603, as the streams are the process's
    _log = path
    if _unread:
        waiting = bytes(_unread)
        _unread.clear()
        _to_log(waiting)


def _to_log(data: bytes) -> None:
    if _log is None:
        _unread.extend(data[: KEPT - len(_unread)])
        return
    with contextlib.suppress(OSError), open(_log, "ab") as file:
        file.write(data)


def unsaid() -> str:
    """Say why what this process said on stdout reached nobody, no reader who left and no log; "" when it did."""
    sys.stdout.flush()
    error = _lost.get("standard output")
    return "" if error is None or error.errno == errno.EPIPE or _log else error.strerror or str(error)
