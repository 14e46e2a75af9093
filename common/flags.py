"""The commands' flags: strict, one-line errors, values from a YAML file. Imports nothing heavy, for `--help`'s sake."""

import argparse
import difflib
import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from common.command import fail
from common.errors import InputError, refusals
from common.files import named

MAX_CONFIG = 1 << 20  # bytes
PLACES = ("PATH", "FILE", "FOLDER")  # metavars of the flags that name a place, all of one type


def flag(text: str) -> bool:
    """Parse a boolean: True/False, 1/0, yes/no in any case (argparse's `type=bool` takes "False" for True)."""
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"'{text}' is not True or False") from None


def number(kind: type, low: float, high: float = float("inf")) -> Callable[[str], float]:
    """Make an argparse type: an int or float within [low, high]."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number of type {kind.__name__}") from None
        if not (low <= value <= high and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text} is outside {low} to {high}")
        return value

    return parse


def numbers(kind: type, low: float, high: float = float("inf")) -> Callable[[str], str]:
    """Make an argparse type: one number that `number` accepts, or several as in 12,13; it stays text."""
    parse = number(kind, low, high)
    return lambda text: ",".join(str(parse(part)) for part in text.split(","))


def auto_or(parse: Callable[[str], float]) -> Callable[[str], float | str]:
    """Make an argparse type: the word `auto`, or what `parse` accepts."""
    return lambda text: text if text == "auto" else parse(text)


def place(text: str) -> str:
    """Parse a path as people type it: `~` and `~user` at its beginning are homes, since a shell expands none after `=`.

    One that ends in `.` or `..` becomes the folder that it leads to, which has a name.
    """
    if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in text):
        raise argparse.ArgumentTypeError(f"{text!a} is no name in UTF-8; rename it")  # TensorFlow knows no other
    if not text:
        raise argparse.ArgumentTypeError("no path is given; . is the current folder")
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise argparse.ArgumentTypeError(f"there is no home '{path.split('/')[0]}'; write ./{path} for that name here")
    return path if Path(path).name not in ("", "..") else str(named(path))


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors, no abbreviations, a suggestion for a misspelt flag, and `--config=FILE.yaml`."""

    def __init__(self, description: str | None = None):
        super().__init__(
            description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self._group = self
        common = self.add_argument_group("every command")
        self._add_option(common, "config", None, "flags from a YAML file; those given here win", metavar="FILE")
        self._add_flag(common, "verbose", False, "show what TensorFlow, XLA and MPI say as well (default: False)")

    @property
    def options(self) -> list[argparse.Action]:
        """The flags in order, but --help; argparse has no public list."""
        return [action for action in self._actions if action.dest != "help"]

    def group(self, title: str) -> None:
        """Put the flags that follow under this heading of `--help`."""
        self._group = self.add_argument_group(title)

    def flag(self, name: str, default: bool, help: str) -> None:
        """Add a boolean: `--name`, `--name=True`, `--name=False`."""
        self._add_flag(self._group, name, default, help)

    def option(self, name: str, default, help: str, **kwargs) -> None:
        """Add a flag with a value; the help text names its default. A metavar of PLACES makes it a path."""
        self._add_option(self._group, name, default, help, **kwargs)

    def parse_args(self, args=None, namespace=None):
        parsed = self._parse(args, namespace)
        if parsed.config is not None:
            self.set_defaults(**self._read_config(Path(parsed.config)))
            parsed = self._parse(args, namespace)
        return parsed

    def error(self, message: str) -> None:
        """Say in one line what is wrong with the command line and exit with 2."""
        fail(f"{message} (see {self.prog} --help)")

    def _add_flag(self, group, name, default, help):
        group.add_argument(f"--{name}", nargs="?", const=True, default=default, type=flag, metavar="BOOL", help=help)

    def _add_option(self, group, name, default, help, **kwargs):
        shown = f"{help} (default: {default})" if default not in (None, "") else help
        if kwargs.get("metavar") in PLACES:
            kwargs.setdefault("type", place)
        group.add_argument(f"--{name}", default=default, help=shown, **kwargs)

    def _parse(self, args, namespace):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unknown argument '{unknown[0]}'{self._suggestion(unknown[0].split('=')[0])}")
        return parsed

    def _suggestion(self, name: str, sign: str = "") -> str:
        known = [option for action in self._actions for option in action.option_strings]
        close = difflib.get_close_matches(name, known, n=1)
        return f"; did you mean {close[0].removeprefix(sign)}?" if close else ""

    def _read_config(self, path: Path) -> dict:
        """Read the values of a YAML file, a mapping from flags' names, each judged as on the command line."""
        import yaml

        actions = {action.dest: action for action in self.options if action.dest != "config"}
        values: dict = {}
        for key, value in _compose(path):
            where = f"{path} line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode) or key.value not in actions:
                name = key.value if isinstance(key, yaml.ScalarNode) else "a list"
                raise InputError(f"{where}: no flag '{name}'{self._suggestion(f'--{name}', '--')}")
            if key.value in values:
                raise InputError(f"{where} has '{key.value}' a second time; keep one")
            if not isinstance(value, yaml.ScalarNode):
                raise InputError(f"{where}: '{key.value}' has several values; give one")
            values[key.value] = self._read_value(actions[key.value], value, where)
        return values

    def _read_value(self, action: argparse.Action, node, where: str):
        """Read a flag's value from a YAML scalar; None where there is nothing, and the flag need not have a value."""
        if node.style is None and node.value in ("", "~", "null"):
            if self.get_default(action.dest) is not None:
                raise InputError(f"{where}: '{action.dest}' has no value; give one, or remove the line")
            return None
        try:
            return self._get_values(action, [node.value])
        except argparse.ArgumentError as error:
            raise InputError(f"{where}: {error}") from None


def _compose(path: Path) -> list:
    """Read a YAML file of flags as pairs of nodes, of text."""
    import yaml  # only here: --help need not wait for it

    try:
        with refusals("read", path, "name another with --config"):
            if path.stat().st_size > MAX_CONFIG:
                raise InputError(f"{path} is larger than a file of flags can be; name another with --config")
            text = path.read_text(encoding="utf-8")
        # Composed only: no YAML type turns "no", "1e-3" or a tag into something else.
        root = yaml.compose(text, yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is not YAML ({reason}); write a line 'epochs: 90' for each flag") from None
    if not isinstance(root, yaml.MappingNode | None):
        raise InputError(f"{path} holds no flags; write a line 'epochs: 90' for each")
    return root.value if root else []


def config_text(args: argparse.Namespace, script: str) -> str:
    """Write the flags in force as YAML, with which `--config` repeats a run of `script`."""
    import yaml

    values = {k: v for k, v in vars(args).items() if k not in ("config", "verbose") and v is not None}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return f"# {script} --config=FILE: this run again; further flags win\n{text}"


def command_line(script: str, **flags: object) -> str:
    """Write the command that runs a script of this toolkit with these flags, less those that are None.

    It can be pasted into a shell in the current folder: quoted, and with this interpreter, which is called `python`
    only where a shell finds it by that name.
    """
    here = Path(sys.executable)
    found = Path(shutil.which("python") or "python")
    same = found.parent.resolve() == here.parent.resolve() and found.resolve() == here.resolve()
    words = ["python" if same else _near(here), _near(Path(__file__).resolve().parents[1] / script)]
    given = [f"--{name}={shlex.quote(str(value))}" for name, value in flags.items() if value is not None]
    return " ".join([*map(shlex.quote, words), *given])


def _near(path: Path) -> str:
    """Write a path from the current folder where it lies below it, from the root elsewhere."""
    near = os.path.relpath(path)
    return str(path) if near.startswith("..") else near
