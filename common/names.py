"""Tables of named things that flags choose from."""

import inspect
from collections.abc import Mapping


def listing(table: Mapping[str, object]) -> str:
    """A line for each name: the name and the first line of what it stands for's docstring."""
    said = {name: (inspect.getdoc(thing) or "no docstring").splitlines()[0] for name, thing in table.items()}
    return "\n".join(f"  {name:17} {line}" for name, line in said.items())
