"""What folds side by side bring (tgs_train.py --jobs=2): two trainings on a core each against one on both cores."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks.ring import Party, words
from benchmarks.table import Row, ratio
from common.side_by_side import on_cores

LIGHT = "efficientnet_lite0+scse+hypercolumn"


def rows(rounds: int, tiny: bool) -> list[Row]:
    """The rows of a light network at 64 and 128 px; none on a single core."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        print("folds: left out, a single core has no shares", flush=True)
        return []
    networks = [("tiny", 32, 40)] if tiny else [(LIGHT, 64, 40), (LIGHT, 128, 15)]
    return [row for *network, steps in networks for row in compare(rounds, *network, cores=cores, steps=steps)]


def compare(rounds: int, model: str, size: int, *, cores: list[int], steps: int) -> list[Row]:
    """In turn: one process on both cores; two at once, pinned to one each."""
    network = {"model": model, "size": size, "batch": 16}
    with ExitStack() as stack:
        enter = stack.enter_context
        with on_cores(set(cores)):
            whole = enter(Party(**network))
        halves = [enter(Party(cores=[core], **network)) for core in cores]
        pool = enter(ThreadPoolExecutor())
        measure = {
            "one": lambda: whole.train(steps)["speed"],
            "two": lambda: sum(answer["speed"] for answer in pool.map(lambda party: party.train(steps), halves)),
        }
        speeds: dict[str, list[float]] = {"one": [], "two": []}
        for k in range(rounds):
            for name in list(measure)[:: -1 if k % 2 else 1]:
                speeds[name].append(measure[name]())
            print(
                f"folds, {size} px, round {k + 1}/{rounds}, images/s: one on both cores {speeds['one'][-1]:.1f}, "
                f"two on one each {speeds['two'][-1]:.1f}",
                flush=True,
            )
    one = Row(f"one training on two cores, {size} px", "images/s", speeds["one"], note=words(network))
    two = Row(f"two side by side, {size} px", "images/s", speeds["two"], note=f"{words(network)}; both together")
    return [one, two, ratio(f"two side by side / one on two cores, {size} px", two, one)]
