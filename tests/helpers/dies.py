"""A training that is struck at a chosen moment of its writing: tgs_train.py's own main, and a signal to itself.

python -m tests.helpers.dies SIGNAL MOMENT FILE N FLAGS
mpirun -np 2 python -m tests.helpers.dies SIGNAL MOMENT FILE N --hvd=True FLAGS

MOMENT is "half" (half of the temporary file is written), "before" or "after" (it is renamed); FILE a pattern for the
name of the file to be; N counts such moments of this process.
"""

import os
import re
import signal
import sys
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import tgs_train
from common.command import run


def strike_at(signum: int, moment: str, pattern: str, n: int) -> None:
    """Send this process a signal at the n-th such moment, which it comes to by flushing a file or renaming it."""
    fsync, replace, left = os.fsync, os.replace, n

    def is_now(here: str, name: str) -> bool:
        nonlocal left
        fits = here == moment and fnmatch(name, pattern)
        left -= fits
        return fits and left == 0

    def striking_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        temporary = re.fullmatch(r"\.\d+\.(.+)", path.name)
        if temporary and is_now("half", temporary[1]):
            if path.stat().st_nlink > 1:  # a second name of a whole file: there is no half of that
                path.unlink()
            else:
                os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signum)
        fsync(descriptor)

    def striking_replace(source: Path, target: Path) -> None:
        if is_now("before", Path(target).name):
            os.kill(os.getpid(), signum)
        replace(source, target)
        if is_now("after", Path(target).name):
            os.kill(os.getpid(), signum)

    os.fsync, os.replace = striking_fsync, striking_replace


if __name__ == "__main__":
    name, moment, pattern, n, *flags = sys.argv[1:]
    strike_at(signal.Signals[name], moment, pattern, int(n))
    run(partial(tgs_train.main, flags))
