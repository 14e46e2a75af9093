"""How busy this machine is: a limit in seconds is one of a machine that has nothing else to do."""

import time


def slowdown() -> float:
    """How many times longer than on an idle machine a second of one core takes now, 1 or more."""
    began, computing = time.perf_counter(), time.process_time()
    while time.process_time() - computing < 0.2:
        pass
    return max(1.0, (time.perf_counter() - began) / 0.2)
