"""The names that a package offers from Python, each loaded with its module when it is first asked for (PEP 562)."""

from collections.abc import Callable, Mapping
from importlib import import_module


def public_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Make `__getattr__`, `__dir__` and `__all__` of `package`; `homes` maps a module to its public names."""
    home = {name: module for module, names in homes.items() for name in names.split()}

    def load(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(home[name]), name)

    return load, lambda: sorted(home), sorted(home)
