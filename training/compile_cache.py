"""What XLA compiles, kept for later runs: TensorFlow's own cache, which trusts its files, behind lock and checksums."""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from common.command import rank
from common.digests import digest
from common.errors import InputError
from common.files import make_folder, read_json, write_json
from common.locks import held

CHECKSUMS = "checksums.json"


@contextmanager
def keep_compiled(folder: str | Path | None) -> Iterator[None]:
    """Let XLA read and keep compiled functions in `folder` meanwhile; None keeps nothing.

    To be entered before TensorFlow is imported, which reads its flags once. A damaged file would end the run, so
    whatever is not as the last run left it is removed. While another run has the folder this one goes without.

    Raises:
        InputError: the folder cannot be made, or its name has a space, which TensorFlow's flags cannot hold.
    """
    if folder is None:
        yield
        return
    place = make_folder(Path(folder, f"{_device()}_{rank()}").absolute())
    if re.search(r"\s", str(place)):
        raise InputError(f"--xla_cache={folder}: {place} has a space; choose another folder")
    with ExitStack() as stack:
        try:
            stack.enter_context(held(place))
        except InputError:
            yield
            return
        sums = {}
        with suppress(InputError):  # none yet, or not whole
            sums = read_json(place / CHECKSUMS)
        for path in place.glob("*.pb"):
            if sums.get(path.name) != digest(path):
                path.unlink()
        flags = os.environ.get("TF_XLA_FLAGS", "")
        os.environ["TF_XLA_FLAGS"] = f"{flags} --tf_xla_persistent_cache_directory={place}".strip()
        try:
            yield
        finally:
            write_json(place / CHECKSUMS, {path.name: digest(path) for path in place.glob("*.pb")})


def _device() -> str:
    """Name of what compiled code fits: this version of TensorFlow with this kind of GPU, or else on this machine."""
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    model = re.search(r"Model:\s*(.+)", gpus[0].read_text()) if gpus else None
    return re.sub(r"[^\w.-]+", "-", f"tensorflow-{version('tensorflow')}_{model[1] if model else platform.node()}")
