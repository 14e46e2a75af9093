"""How busy this machine is: a limit in seconds is one of a machine that has nothing else to do."""

import os
import time
from pathlib import Path


def slowdown() -> float:
    """How many times longer than on an idle machine a second of one core takes now, 1 or more."""
    began, computing = time.perf_counter(), time.process_time()
    while time.process_time() - computing < 0.2:
        pass
    return max(1.0, (time.perf_counter() - began) / 0.2)


def processor_time(process: int) -> float:
    """Seconds of processor time that a process has taken so far; 0 when it is over."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
