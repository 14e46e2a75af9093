"""What a benchmark ran on: hardware and versions; no name of the machine or its user, no path."""

import os
import platform
import re
from datetime import datetime
from importlib import metadata
from pathlib import Path

ISA = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve")  # told if present


def facts() -> dict:
    """Everything, ready for JSON; loads TensorFlow, which must not have touched a device yet."""
    from common.device import device_name
    from models.weights import versions

    info = _read("/proc/cpuinfo")
    model, flags = (re.search(rf"^{key}\s*: (.*)$", info, re.M) for key in ("model name", "(?:flags|Features)"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "device": device_name(),
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "isa": [name for name in ISA if flags and name in flags[1].split()],
        "memory_gib": round(memory / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        **versions(),
        "horovod": next((d.version for d in metadata.distributions(name="horovod")), None),
    }


def has_gpu() -> bool:
    """Whether TensorFlow computes on a GPU here."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def busy_seconds(pid: int | None = None) -> float:
    """Processor time taken so far by a process, or by all of the machine's, and by others than this virtual machine."""
    if pid:
        ticks = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[11:13]
    else:
        user, nice, system, _idle, _iowait, *rest = _read("/proc/stat").split("\n")[0].split()[1:9]
        ticks = [user, nice, system, *rest]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _read(path: str) -> str:
    """A file's text; "" where there is none."""
    return Path(path).read_text() if Path(path).exists() else ""
