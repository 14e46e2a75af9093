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
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType

from benchmarks import machine
from benchmarks.table import Row, ratio
from common.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PEER = "benchmarks/.venv/bin/python"  # where `make bench` puts the peer's interpreter
BLOCK, STEPS = 1.5, 3  # a round's block is this many seconds and steps, at least: a GPU's single steps tell nothing

EAGER = {f"eager {layout}": {"layout": layout} for layout in ("contiguous", "channels_last")}
SAME_WORK = ", same work"
COMPILED = {f"compile {mode}": {"layout": "channels_last", "compile": mode} for mode in ("default", "reduce-overhead")}


@dataclass(frozen=True)
class Cell:
    """One comparison: a job ("train" or "infer"), a precision, images a step, the ratio and seconds wanted.

    With the precision "best" each side runs in float32 and in bfloat16, and its faster one counts.
    """

    job: str
    mode: str
    batch: int
    ratio: float | None = None
    first_step: float | None = None
    model: str = "resnet34"
    size: int = 128

    def __str__(self) -> str:
        other = "" if (self.model, self.size) == ("resnet34", 128) else f"-{self.model}-{self.size}"
        return f"{self.job}-{self.mode}-{self.batch}{other}"


GPU = (
    Cell("train", "bfloat16", 16, ratio=1.1, first_step=45),
    Cell("train", "bfloat16", 64, ratio=1.3, first_step=45),
    Cell("train", "bfloat16", 256, ratio=1.3, first_step=45),
    Cell("train", "float32", 64),
    Cell("infer", "bfloat16", 256, ratio=1.3),
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

    def __init__(self, name: str, worker: Worker, cell: Cell, settings: dict[str, object]):
        self.name, self.speeds, self._worker, self._batch = name, [], worker, cell.batch
        settings = {"job": cell.job, "mode": cell.mode, "batch": cell.batch} | settings
        self.first = worker.ask("start", name=name, **settings)["seconds"]
        print(f"{cell}, {name}: first step done after {self.first:.1f} s", flush=True)
        self.steps = max(STEPS, math.ceil(BLOCK / self._seconds(1)))

    def round(self) -> None:
        """Run one block."""
        self.speeds.append(self.steps * self._batch / self._seconds(self.steps))

    def _seconds(self, steps: int) -> float:
        return self._worker.ask("run", name=self.name, steps=steps)["seconds"]


def compare(cell: Cell, *, peer: Path | None, rounds: int, compile: bool, tiny: bool) -> list[Row]:
    """Measure one cell in fresh processes, one for ours and one for the peer, with `peer` as its interpreter."""
    network, peers_network = {"model": cell.model, "size": cell.size}, {"model": cell.model, "size": cell.size}
    if tiny:
        network, peers_network = {"model": "tiny", "size": 64}, {"model": "resnet18", "size": 64}
    settings = EAGER | (COMPILED if compile else {})
    if cell.job == "train":
        settings |= {f"{name}{SAME_WORK}": own | {"same_work": True} for name, own in settings.items()}
    precisions = {"": {}} if cell.mode != "best" else {f" {mode}": {"mode": mode} for mode in PRECISIONS}
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(sys.executable, "benchmarks.ours"))]
        contenders = [Contender(f"ours{of}", workers[0], cell, network | mode) for of, mode in precisions.items()]
        if peer:
            workers.append(stack.enter_context(Worker(peer, "benchmarks.peer")))
            for (of, mode), (name, own) in product(precisions.items(), settings.items()):
                try:
                    contenders.append(Contender(f"peer{of} {name}", workers[1], cell, peers_network | mode | own))
                except WorkerError as error:
                    print(f"{cell}, peer{of} {name}: left out, {str(error).splitlines()[0]}", flush=True)
        others = []
        for k in range(rounds):
            started, before = time.perf_counter(), others_seconds(workers)
            for contender in contenders[:: -1 if k % 2 else 1]:
                contender.round()
            others.append((others_seconds(workers) - before) / (time.perf_counter() - started))
            latest = ", ".join(f"{c.name} {c.speeds[-1]:.1f}" for c in contenders)
            print(f"{cell}, round {k + 1}/{rounds}, images/s: {latest}; others: {others[-1]:.2f} cores", flush=True)
    return table(cell, contenders, others)


def others_seconds(workers: Sequence[Worker]) -> float:
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
