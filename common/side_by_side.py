"""Parts of a command side by side: each in a process of its own on its share of the cores.

A network whose operations are small leaves cores idle that wait for each other; of two such networks on a core each,
neither waits.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from common.command import EXIT_INPUT, explain
from common.errors import InputError
from common.streams import make_streams_last
from common.surroundings import settle


def share_of_cores(part: int, parts: int, jobs: int) -> set[int]:
    """Choose the cores for part number `part` of `parts`, from 0, when `jobs`, no more than cores, run at a time.

    Where fewer are left at the end, these have the more.
    """
    cores = sorted(os.sched_getaffinity(0))
    place = part % jobs
    at_once = min(jobs, parts - part + place)
    return set(cores[place * len(cores) // at_once : (place + 1) * len(cores) // at_once])


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Let this thread, and those that it starts meanwhile, run on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_side_by_side(parts: Mapping[str, Callable[[], object]], jobs: int) -> None:
    """Call all parts, `jobs` at a time in the order given; their output is this process's, without bars.

    However this process ends, what is under way of them ends with it.

    Args:
        parts: by name. They and their arguments are pickled, for new interpreters: nothing that is loaded is shared.
    Raises:
        InputError: of the first part that fails so, or that something kills; the others are then ended.
        SystemExit: the part failed in another way, and has said how.
    """
    shares = [share_of_cores(part, len(parts), jobs) for part in range(len(parts))]
    context = multiprocessing.get_context("spawn")
    running: dict[int, tuple[str, BaseProcess, Connection]] = {}  # by sentinel
    try:
        for (name, part), cores in zip(parts.items(), shares, strict=True):
            if len(running) == jobs:
                _wait_for_one(running)
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(part, cores, there), name=name)
            process.start()
            there.close()
            running[process.sentinel] = name, process, here
        while running:
            _wait_for_one(running)
    finally:
        for _, process, _ in running.values():
            process.kill()  # at any moment: what is written is written aside and renamed
        for _, process, _ in running.values():
            process.join()


def _wait_for_one(running: dict[int, tuple[str, BaseProcess, Connection]]) -> None:
    """Wait until one of the processes has ended, and take it out; raise what it failed with, if it did."""
    name, process, said = running.pop(wait(running)[0])
    process.join()
    if not process.exitcode:
        return
    if process.exitcode < 0:
        number = signal.Signals(-process.exitcode).name
        raise InputError(
            f"{name} was ended by {number}, perhaps for want of memory; lower --jobs, the same command goes on"
        )
    with suppress(EOFError):  # it said nothing here, but as Python does
        raise InputError(said.recv())
    sys.exit(process.exitcode)


def _work(part: Callable[[], object], cores: set[int], failed: Connection) -> None:
    """Call `part` in a process of its own, on `cores`; what it fails with is for the first process to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the first process too, which ends this one
    parent = multiprocessing.parent_process()
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    make_streams_last()
    settle()
    try:
        with on_cores(cores):
            part()
    except Exception as error:
        if not (said := explain(error)):
            raise
        failed.send(said)
        sys.exit(EXIT_INPUT)


def _end_with(sentinel: int) -> None:
    """End this process as soon as the one that `sentinel` is of has ended."""
    wait([sentinel])
    os._exit(1)
