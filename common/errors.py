"""The exceptions that mean "the user's input is wrong", and the one way from the system's own errors to them."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(Exception):
    """Wrong input: the message is one line that says what is wrong, in which file, and what to do.

    Commands turn it into `error: <message>` on stderr and exit code 2 (see common/command.py);
    every other exception is a defect of ours and keeps its traceback.
    """


class SharedError(InputError):
    """Wrong input that every rank of a ring has been told of: rank 0 says it, the others leave in silence."""


@contextmanager
def refusals(job: str, path: object, hint: str = "") -> Iterator[None]:
    """Turn an OSError meanwhile into InputError "cannot <job> <path>: <the system's words>; <hint>".

    with refusals("read", path):
        content = path.read_bytes()
    """
    try:
        yield
    except OSError as error:
        refuse_broken_link(path)
        raise InputError(f"cannot {job} {path}: {reason(error)}{hint and f'; {hint}'}") from None


def refuse_broken_link(path: object) -> None:
    """Raise InputError when `path`, or a folder on the way to it, is a link to what is not there.

    The system's own words are "No such file or directory", for a file that `ls` shows.
    """
    path = Path(str(path))
    for link in (*reversed(path.parents), path):
        if os.path.islink(link) and not os.path.exists(link):
            goal = Path(os.path.realpath(link))
            missing = next((place for place in (*reversed(goal.parents), goal) if not os.path.lexists(place)), None)
            if missing:  # else links in a circle, or a folder that may not be entered
                raise InputError(
                    f"{link} is a link to {os.readlink(link)}, and there is no {missing}; bring that there, or "
                    "link anew (folds: tgs_preprocess.py); to copy folds with their tiles, use cp -rL"
                )


def reason(error: OSError) -> str:
    """Say an error in the system's own words; HDF5 hides its number in a long message."""
    hidden = re.search(r"errno = (\d+)", str(error))
    return os.strerror(int(hidden[1])) if hidden else error.strerror or str(error)
