"""Ours beside the peer: the same work in turn, round by round, so that the machine's moods meet both alike.

Ours is training and prediction as the commands do them, the peer segmentation_models_pytorch with the same encoder,
image size, batch and precision, in every configuration that suits the device; the ratio is to the fastest one. In
training ours does more: it places and augments uint8 tiles and keeps the weights' moving average, while the peer's
input lies ready on the device; a second ratio is to the fastest peer that does the same work. In prediction both go
from uint8 tiles to float32 probabilities, in the host's memory.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from types import MappingProxyType

from benchmarks import machine
from benchmarks.table import Row, ratio
from common.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PEER = "benchmarks/.venv/bin/python"  # where `make bench` puts the peer's interpreter
STEPS = 3  # a round's block is so many, at least, and takes as many seconds as its cell says: single ones tell little

EAGER = {f"eager {layout}": {"layout": layout} for layout in ("contiguous", "channels_last")}
SAME_WORK = ", same work"
COMPILED = {f"compile {mode}": {"layout": "channels_last", "compile": mode} for mode in ("default", "reduce-overhead")}


@dataclass(frozen=True)
class Cell:
    """One comparison: a job ("train" or "infer"), a precision, images a step, the ratio and seconds wanted.

    `block`: seconds that a contender runs in each round. With the precision "best" each side runs in float32 and in
    bfloat16, and its faster one counts.
    """

    job: str
    mode: str
    batch: int
    ratio: float | None = None
    first_step: float | None = None
    model: str = "resnet34"
    size: int = 128
    block: float = 1.5

    def __str__(self) -> str:
        other = "" if (self.model, self.size) == ("resnet34", 128) else f"-{self.model}-{self.size}"
        return f"{self.job}-{self.mode}-{self.batch}{other}"


GPU = (
    Cell("train", "bfloat16", 16, ratio=1.1, first_step=45, block=0.5),  # dozens of steps, which are of one length
    Cell("train", "bfloat16", 64, ratio=1.3, first_step=45, block=0.5),
    Cell("train", "bfloat16", 256, ratio=1.3, first_step=45, block=0.5),
    Cell("infer", "bfloat16", 256, ratio=1.3, block=0.5),
    Cell("train", "float32", 64, block=0.5),
)
CPU = (
    Cell("train", "float32", 16, ratio=1.14),
    Cell("train", "bfloat16", 16, ratio=1.05),
    *(
        Cell("train", "best", 16, ratio=1.5, model=model, size=size)
        for size in (128, 64)
        for model in ("efficientnet_lite0", "efficientnet_lite0+scse")
    ),
    Cell("infer", "float32", 64, ratio=1.4),
    Cell("infer", "bfloat16", 64, ratio=1.22),
    Cell("infer", "best", 64, ratio=1.4, model="efficientnet_lite0"),
)
TINY = (Cell("train", "bfloat16", 2), Cell("train", "best", 2), Cell("infer", "float32", 2))
PRECISIONS = ("float32", "bfloat16")


class WorkerError(RuntimeError):
    """A worker could not do what it was asked for."""


class Worker:
    """A process that serves the requests of worker.py; it ends with the `with` block."""

    def __init__(
        self,
        python: str | Path,
        module: str,
        *arguments: str,
        launcher: Sequence[str] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
    ):
        """`launcher`: what stands before the interpreter (mpirun). `environment`: what is other than this process's."""
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by __exit__
        command = [*launcher, str(python), "-m", module, *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
        self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, text=True, **pipes)

    def ask(self, what: str, **request) -> dict:
        """The answer to a request; WorkerError when it failed, or the process ended over it."""
        try:
            print(json.dumps({"ask": what} | request), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._errors.seek(0)
            last = (self._errors.read().strip() or f"exit status {self.process.wait()}").splitlines()[-1]
            raise WorkerError(f"the worker ended: {last}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    @property
    def busy_seconds(self) -> float:
        """Processor time it has taken so far."""
        return machine.busy_seconds(self.process.pid)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind, *exception) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        if kind is WorkerError:  # a defect: whatever it has to say
            self._errors.seek(0)
            sys.stderr.write(self._errors.read())
        self._errors.close()


class Contender:
    """One side of a comparison, in one configuration, ready to run; `speeds`, images/s, gets a value a round."""

    def __init__(self, name: str, worker: Worker, cell: Cell, settings: Mapping[str, object]):
        self.name, self.speeds, self.worker, self._batch = name, [], worker, cell.batch
        settings = {"job": cell.job, "mode": cell.mode, "batch": cell.batch} | dict(settings)
        self.first = worker.ask("start", name=name, **settings)["seconds"]
        print(f"{cell}, {name}: first step done after {self.first:.1f} s", flush=True)
        self.steps = max(STEPS, math.ceil(cell.block / self._seconds(1)))

    def round(self) -> None:
        """Run one block."""
        self.speeds.append(self.steps * self._batch / self._seconds(self.steps))

    def _seconds(self, steps: int) -> float:
        return self.worker.ask("run", name=self.name, steps=steps)["seconds"]


def compare(cell: Cell, *, rounds: int, **line_up) -> list[Row]:
    """Measure one cell in fresh processes, one for ours and one for the peer; `line_up`: of entrants()."""
    with ExitStack() as stack:
        return play(cell, start(cell, entrants(cell, stack, **line_up)), rounds)


def compare_at_once(cells: Sequence[Cell], *, rounds: int, **line_up) -> Iterator[list[Row]]:
    """Measure cells in turn, once all their contenders were started at once, each configuration in its own process.

    That spares minutes where compiling takes most of them, as on a GPU; but first steps are then late.
    """
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        starting = []
        for cell in cells:
            entered = entrants(cell, stack, apart=True, **line_up)
            # All end at once, too, not one after another.
            stack.callback(lambda entered=entered: [one.worker.process.stdin.close() for one in entered])
            parts = [list(part) for _, part in groupby(entered, lambda entrant: id(entrant.worker))]
            starting.append((cell, [pool.submit(start, cell, part) for part in parts]))
        for cell, contenders in [(cell, [one for part in parts for one in part.result()]) for cell, parts in starting]:
            yield play(cell, contenders, rounds)


@dataclass(frozen=True)
class Entrant:
    """A contender to be: its name, the process that it is to run in, and what that is asked for."""

    name: str
    worker: Worker
    settings: Mapping[str, object]


def entrants(
    cell: Cell, stack: ExitStack, *, peer: Path | None, compile: bool, tiny: bool, apart: bool = False
) -> list[Entrant]:
    """List all sides of a cell, ours first, in processes that end with `stack`.

    Args:
        peer: the peer's interpreter; None has ours alone.
        compile: the peer through torch.compile as well.
        tiny: small networks.
        apart: a process for each of the peer's configurations, not one for all.
    """
    network = peers_network = {"model": cell.model, "size": cell.size}
    if tiny:
        network, peers_network = {"model": "tiny", "size": 64}, {"model": "resnet18", "size": 64}
    settings = EAGER | (COMPILED if compile else {})
    if cell.job == "train":
        works = {"": {}, SAME_WORK: {"same_work": True}}
        settings = {name + work: own | more for name, own in settings.items() for work, more in works.items()}
    precisions = {"": {}} if cell.mode != "best" else {f" {mode}": {"mode": mode} for mode in PRECISIONS}
    worker = stack.enter_context(Worker(sys.executable, "benchmarks.ours"))
    found = [Entrant(f"ours{of}", worker, network | mode) for of, mode in precisions.items()]
    workers: dict[str, Worker] = {}  # by configuration
    for (of, mode), (name, own) in product(precisions.items(), settings.items()) if peer else ():
        place = of + name.removesuffix(SAME_WORK) if apart else ""
        if place not in workers:
            workers[place] = stack.enter_context(Worker(peer, "benchmarks.peer"))
        found.append(Entrant(f"peer{of} {name}", workers[place], peers_network | mode | own))
    return found


def start(cell: Cell, entered: Sequence[Entrant]) -> list[Contender]:
    """Have them take their first steps, one after another; the peer goes without a configuration that cannot."""
    found = []
    for entrant in entered:
        try:
            found.append(Contender(entrant.name, entrant.worker, cell, entrant.settings))
        except WorkerError as error:
            if entrant.name.startswith("ours"):
                raise
            print(f"{cell}, {entrant.name}: left out, {str(error).splitlines()[0]}", flush=True)
    return found


def play(cell: Cell, contenders: Sequence[Contender], rounds: int) -> list[Row]:
    """Run the contenders' blocks in turn, round by round."""
    workers = {contender.worker for contender in contenders}
    others = []
    for k in range(rounds):
        started, before = time.perf_counter(), others_seconds(workers)
        for contender in contenders[:: -1 if k % 2 else 1]:
            contender.round()
        others.append((others_seconds(workers) - before) / (time.perf_counter() - started))
        latest = ", ".join(f"{c.name} {c.speeds[-1]:.1f}" for c in contenders)
        print(f"{cell}, round {k + 1}/{rounds}, images/s: {latest}; others: {others[-1]:.2f} cores", flush=True)
    return table(cell, contenders, others)


def others_seconds(workers: Collection[Worker]) -> float:
    """Processor time that all but the workers have taken of the machine so far: what disturbs a measurement."""
    return machine.busy_seconds() - sum(worker.busy_seconds for worker in workers)


def table(cell: Cell, contenders: Sequence[Contender], others: Sequence[float]) -> list[Row]:
    """A row for each contender's speed, for the ratio to the fastest peer, our first step, and what disturbed them."""
    what = f"{cell.job}, {cell.mode}, batch {cell.batch}"
    if (cell.model, cell.size) != (Cell.model, Cell.size):
        what = f"{cell.model}, {cell.size} px, {what}"
    rows = {
        c.name: Row(f"{what}: {c.name}", "images/s", c.speeds, note=f"first step done after {c.first:.1f} s")
        for c in contenders
    }
    found = list(rows.values())
    ours = fastest({name: row for name, row in rows.items() if name.startswith("ours")})
    for work, target in (("", cell.ratio), (SAME_WORK, None)):
        alike = {
            name: row
            for name, row in rows.items()
            if name.startswith("peer") and name.endswith(SAME_WORK) == bool(work)
        }
        if alike:
            best = fastest(alike)
            note = best if ours == "ours" else f"{ours} / {best}"
            found.append(ratio(f"{what}: ours / fastest peer{work}", rows[ours], rows[best], target, note=note))
    first = next(c.first for c in contenders if c.name == ours)
    note = "network built and compiled, one step done"
    found.append(Row(f"{what}: our first step", "s", [first], cell.first_step, note=note))
    found.append(Row(f"{what}: taken by other processes", "cores", others, note="near 0, or the rest is worth little"))
    return found


def fastest(rows: Mapping[str, Row]) -> str:
    """Name of the row with the greatest median."""
    return max(rows, key=lambda name: rows[name].median)


def peer_facts(peer: Path, gpu: bool) -> dict:
    """What the peer's environment holds; InputError unless it works, on the same kind of device as ours."""
    if not peer.is_file():
        raise InputError(f"no peer at {peer}; `make bench` installs it, --peer=none measures ours alone")
    with Worker(peer, "benchmarks.peer") as worker:
        try:
            facts = worker.ask("facts")
        except WorkerError as error:
            raise InputError(f"{peer} cannot run the peer, {error}; `make bench` installs it") from None
    if gpu != (facts["device"] != "CPU"):
        raise InputError(f"TensorFlow {'has a GPU' if gpu else 'has no GPU'}, the peer's device is {facts['device']}")
    return facts
