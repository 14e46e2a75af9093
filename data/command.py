"""What the four commands share: strict flags, one-line errors, exit codes.

Imports nothing heavy, so that `--help` answers at once.
"""

import argparse
import difflib
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable

from data.errors import InputError

EXIT_INPUT, EXIT_INTERRUPTED = 2, 130


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
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def run(main: Callable[[], object]) -> None:
    """Run a command's `main` and exit: 0 done, 2 wrong input (one line on stderr), 130 interrupted."""
    try:
        main()
    except InputError as error:
        if os.environ.get("OMPI_COMM_WORLD_RANK", "0") != "0":
            time.sleep(10)  # all ranks find the same: rank 0 says it, and mpirun ends the others meanwhile
        print("error:", *str(error).splitlines(), file=sys.stderr)  # a file's name may hold a line break
        sys.exit(EXIT_INPUT)
    except ModuleNotFoundError as error:
        print(f"error: {error.name} is not installed here; run make env, then use .venv/bin/python", file=sys.stderr)
        sys.exit(EXIT_INPUT)
    except KeyboardInterrupt:
        print("interrupted; what was written before is whole", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
