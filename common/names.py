"""Names such as "warp+light": what each stands for, by tables, and a list of those there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from common.errors import InputError


class Named(Protocol):
    """What a table holds under a name."""

    about: str  # a line for `list`


@dataclass(frozen=True)
class Entry:
    """A function that can be chosen by name, and a line that says what it does."""

    about: str
    function: Callable


T = TypeVar("T")


def find(name: str, table: Mapping[str, T], kind: str, more: str = "") -> T:
    """Look `name` up in `table`.

    Raises:
        InputError: there is no such name; the message lists those there are, and `more` that can be written.
    """
    if name not in table:
        raise InputError(f"no {kind} '{name}'; choose from {', '.join(table)}{more}")
    return table[name]


def read_sum(text: str, table: Mapping[str, T], kind: str, example: str) -> list[tuple[str, T]]:
    """Look up the names of a sum such as `example`; returns them with their entries, in order. "none" has none.

    Raises:
        InputError: a name that `table` lacks.
    """
    more = f", a sum like {example}, or none"
    return [(name, find(name, table, kind, more)) for name in ([] if text == "none" else text.split("+"))]


def list_names(table: Mapping[str, Named]) -> str:
    """Write a line for each name of a table."""
    return "\n".join(f"  {name:18} {entry.about}" for name, entry in table.items())
