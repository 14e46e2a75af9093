"""What a ring costs on this machine's CPU: a ring of one against no ring, and of two, pinned to a core each.

    python -m benchmarks.ring '{"hvd": false, "cores": [0], "model": "tiny", "size": 64, "batch": 16}'

is one process of the comparison, or under mpirun with "hvd" true one rank. It answers each line {"steps": 5} on stdin.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.contest import Worker, others_seconds
from benchmarks.material import clocked
from benchmarks.table import Row, ratio
from common.backend import load_tensorflow

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
MPIRUN = "mpirun -np {n} -bind-to none -map-by slot -mca pml ob1 -mca btl ^openib"  # as train_multi_gpu_ring.sh has it
ENVIRONMENT = {
    "PATH": PATH,
    "CUDA_VISIBLE_DEVICES": "-1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "HOROVOD_STALL_CHECK_DISABLE": "1",  # stopped ranks do not answer
}


class Party(Worker):
    """One process, or the ranks of a ring, that train when told to and are stopped in between: waiting MPI spins."""

    def __init__(self, ranks: int = 0, *, cores: Sequence[int] = (), **network):
        """`ranks`: 0 is a process without a ring. `cores`: where rank r may run, core r; none: on all of them."""
        settings = json.dumps({"hvd": ranks > 0, "cores": list(cores)} | network)
        launcher = MPIRUN.format(n=ranks).split() if ranks else []
        super().__init__(sys.executable, "benchmarks.ring", settings, launcher=launcher, environment=ENVIRONMENT)
        self._pids = self.ask("train", steps=2)["pids"]  # traced and compiled
        self._signal(signal.SIGSTOP)

    def train(self, steps: int) -> dict:
        """Train so many steps: `speed`, images/s of all ranks; seconds a step, `exchange` and `waiting` for a rank."""
        self._signal(signal.SIGCONT)
        answer = self.ask("train", steps=steps)
        self._signal(signal.SIGSTOP)
        return answer

    def _signal(self, number: int) -> None:
        for pid in self._pids:
            os.kill(pid, number)

    @property
    def busy_seconds(self) -> float:
        """Processor time of its processes so far; that of mpirun itself is next to none."""
        return sum(map(machine.busy_seconds, self._pids))

    def __exit__(self, *exception) -> None:
        self._signal(signal.SIGCONT)
        super().__exit__(*exception)


def rows(rounds: int, tiny: bool) -> list[Row]:
    """The rows of a ring of one, and where there are two cores, of two; none without Horovod."""
    if find_spec("horovod") is None or shutil.which("mpirun", path=PATH) is None:
        print("ring: left out, Horovod is not installed; ./install_horovod.sh brings it", flush=True)
        return []
    network = {"model": "tiny" if tiny else "resnet34", "size": 64 if tiny else 128, "batch": 16}
    cores = sorted(os.sched_getaffinity(0))
    found = ring_of_one(rounds, network, steps=20 if tiny else 5)
    return found + (ring_of_two(rounds, network, cores[:2], steps=20 if tiny else 3) if len(cores) > 1 else [])


def ring_of_one(rounds: int, network: dict, steps: int) -> list[Row]:
    """A ring of one process against a process without one, on all cores."""
    with ExitStack() as stack:
        parties = [stack.enter_context(Party(ranks, **network)) for ranks in (0, 1)]
        speeds = [[], []]
        for k in range(rounds):
            for i in (0, 1) if k % 2 else (1, 0):
                speeds[i].append(parties[i].train(steps)["speed"])
            print(f"ring, round {k + 1}/{rounds}, images/s: no ring {speeds[0][-1]:.1f}, of one {speeds[1][-1]:.1f}")
    return one_rows(*speeds, note=words(network))


def ring_of_two(rounds: int, network: dict, cores: list[int], steps: int) -> list[Row]:
    """A ring of two processes, a core each, against one process a core: alone, then both at once."""
    with ExitStack() as stack:
        enter = stack.enter_context
        ring = enter(Party(2, cores=cores, **network))
        first, second = (enter(Party(cores=[core], **network)) for core in cores)
        pool = enter(ThreadPoolExecutor())
        # Two programs side by side share memory and clock: what the machine allows, a ring or none.
        measure = {
            "alone": lambda: sum(party.train(steps)["speed"] for party in (first, second)),
            "ring": lambda: ring.train(steps),
            "at_once": lambda: sum(answer["speed"] for answer in pool.map(lambda p: p.train(steps), (first, second))),
        }
        parties = (ring, first, second)
        found: dict[str, list] = {"alone": [], "ring": [], "at_once": [], "others": []}
        for k in range(rounds):
            started, before = time.perf_counter(), others_seconds(parties)
            for name in list(measure)[:: -1 if k % 2 else 1]:
                found[name].append(measure[name]())
            found["others"].append((others_seconds(parties) - before) / (time.perf_counter() - started))
            a, r, t, o = (found[name][-1] for name in found)
            shown = f"alone {a:.1f}, at once {t:.1f}, ring {r['speed']:.1f}; others: {o:.2f} cores"
            print(f"ring, round {k + 1}/{rounds}, images/s of two: {shown}", flush=True)
    return two_rows(**found, note=words(network))


def one_rows(without: Sequence[float], ring: Sequence[float], note: str) -> list[Row]:
    """Rows of the speeds, images/s, a value a round."""
    alone = Row("training without a ring", "images/s", without, note=note)
    of_one = Row("training in a ring of one", "images/s", ring, note=note)
    return [alone, of_one, ratio("ring of one / no ring", of_one, alone, 0.97)]


def two_rows(
    *, alone: Sequence[float], at_once: Sequence[float], ring: Sequence[dict], others: Sequence[float], note: str
) -> list[Row]:
    """Rows of both cores together, a value a round: speeds, images/s; what `ring` answered; cores taken by `others`."""
    note = f"{note}; pinned to a core each"
    one = Row("2 x one process, the other core idle", "images/s", alone, note=f"{note}; measured on either core")
    two = Row("two processes at once, no ring", "images/s", at_once, note=note)
    exchange, waiting = ([1000 * answer[name] for answer in ring] for name in ("exchange", "waiting"))
    both = Row("ring of two", "images/s", [answer["speed"] for answer in ring], note=note)
    return [
        one,
        two,
        both,
        ratio("ring of two / 2 x one process", both, one, 0.92),
        ratio("what the machine allows: two at once / 2 x one process", two, one),
        ratio("what the ring leaves of it: ring of two / two at once", both, two),
        Row(
            "allreduce of the gradients, a step",
            "ms",
            exchange,
            note="of the rank that comes to it last",
        ),
        Row(
            "waiting for the slower rank, a step",
            "ms",
            waiting,
            note="mean of the ranks, beside the allreduce",
        ),
        Row("ring: taken by other processes", "cores", others, note="near 0, or the rest is worth little"),
    ]


def words(network: dict) -> str:
    return "{model}, {size} px, batch {batch} a process, float32, CPU".format(**network)


# ---- a process of the comparison ---------------------------------------------------------------------------------


def serve(*, hvd: bool, cores: Sequence[int], model: str, size: int, batch: int) -> None:
    """Answer requests until stdin ends; of a ring, rank 0 reads them and answers."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    if cores:  # before TensorFlow starts its threads
        os.sched_setaffinity(0, {cores[int(os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", "0"))]})
    load_tensorflow()
    import tensorflow as tf

    from benchmarks.ours import tiles
    from common.ring.horovod import HorovodRing
    from common.ring.single import SingleProcess
    from training.learner import Learner
    from training.settings import Settings

    ring = HorovodRing() if hvd else SingleProcess()
    ring.claim_device()
    learner = Learner(Settings(model=model, target_size=size), 200, ring, batch_size=batch)
    images, masks = map(tf.constant, tiles(batch))
    while line := ring.on_chief(sys.stdin.readline):
        steps = json.loads(line)["steps"]
        with clocked(ring, "average") as calls:
            speed = learner.train_epoch(repeat((images, masks), steps), 0).speed
        by_rank = np.zeros((ring.size, 1 + steps))  # pid, then seconds of each step's allreduce
        by_rank[ring.rank, 0] = os.getpid()
        if hvd:  # a single process exchanges nothing
            by_rank[ring.rank, 1:] = [call.seconds for call in calls[:steps]]
        by_rank = ring.sum(by_rank, "by_rank")
        exchange = by_rank[:, 1:].min(axis=0).mean()  # the rank that comes last waits for none
        answer = {
            "pids": [int(pid) for pid in by_rank[:, 0]],
            "speed": speed,
            "exchange": exchange,
            "waiting": by_rank[:, 1:].mean() - exchange,
        }
        ring.on_chief(lambda answer=answer: print(json.dumps(answer), file=answers))


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
