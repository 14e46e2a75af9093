"""What both workers of a comparison share: answering requests, a line of JSON each. Standard library only.

Requests, and their answers:
    {"ask": "facts"}                                 {"python": "3.11.9", ...}
    {"ask": "start", "name": "a", "job": "train", SETTINGS}   {"seconds": until its first step was done}
    {"ask": "run", "name": "a", "steps": 20}         {"seconds": of all 20 steps}
A request that fails is answered by {"error": "..."}, its traceback goes to stderr. Between two requests a worker waits
for the next line and takes no processor time; it ends when its input does.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable

Block = Callable[[int], float]  # does so many steps; returns their seconds, all of the device's work included


def serve(jobs: dict[str, Callable[..., Block]], facts: Callable[[], dict]) -> None:
    """Answer requests on stdin until it ends; `jobs` by name make the block of steps that SETTINGS describe."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    blocks: dict[str, Block] = {}

    def start(name: str, job: str, **settings) -> dict:
        started = time.perf_counter()
        block = jobs[job](**settings)
        block(1)
        seconds = time.perf_counter() - started
        block(2)  # CUDA graphs are recorded in the second step
        blocks[name] = block
        return {"seconds": seconds}

    def run(name: str, steps: int) -> dict:
        return {"seconds": blocks[name](steps)}

    known = {"facts": facts, "start": start, "run": run}
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer = known[request.pop("ask")](**request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)
