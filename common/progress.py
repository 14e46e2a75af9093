"""Progress on a terminal: one bar at a time, gone when it is done; silent elsewhere, and on all ranks but the first."""

import multiprocessing
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

from common.command import rank

T = TypeVar("T")
LOCK = threading.RLock()


def bar(title: str, total: int, unit: str = "tile"):
    """Show a tqdm bar on stderr, to be updated by counts of `unit`."""
    from tqdm import tqdm  # only here: --help need not wait for it

    tqdm.set_lock(LOCK)  # its own is a semaphore between processes, which a killed one leaves behind
    several = rank() or multiprocessing.parent_process()  # processes, which share a terminal
    hidden = True if several else None  # None: unless stderr is a terminal
    return tqdm(desc=title, total=total, unit=f" {unit}s", leave=False, dynamic_ncols=True, delay=0.3, disable=hidden)


def counted(items: Iterable[T], shown) -> Iterator[T]:
    """Yield `items`, moving the bar `shown` on by one after each."""
    for item in items:
        yield item
        shown.update(1)


def duration(seconds: float) -> str:
    """Write seconds in words: 42 s, 12 min, 3 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
