"""A process that races with others for a folder: python -m tests.helpers.races hold|submit FOLDER

Says that it is ready, begins at a line on its stdin, and prints what it found as JSON.
"""

import json
import os
import sys
from pathlib import Path

from common.errors import InputError
from common.locks import held
from data.submission import reserved, write_submission


def hold(folder: Path) -> tuple[int, bool]:
    """Take the folder again and again; returns how often it did, and whether it always had it for itself."""
    mine, taken, alone = folder / f"{os.getpid()}.mine", 0, True
    for _ in range(500):
        try:
            with held(folder):
                mine.touch()
                alone &= list(folder.glob("*.mine")) == [mine]
                mine.unlink()
                taken += 1
        except InputError as error:
            alone &= "is in use by" in str(error)
    return taken, alone


def submit(folder: Path) -> list[tuple[str, str]]:
    """Write two submissions; returns their paths and the mask that all their tiles have."""
    mask = f"{os.getpid() % 10000 + 1} 1"
    return [(str(submission(folder, {f"{k:04}": mask for k in range(2000)})), mask) for _ in range(2)]


def submission(folder: Path, masks: dict[str, str]) -> Path:
    """Write one as tgs_predict.py does."""
    with reserved(folder, "submission_x") as stem:
        write_submission(f"{stem}.csv", masks)
    return Path(f"{stem}.csv")


if __name__ == "__main__":
    job, folder = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps({"hold": hold, "submit": submit}[job](Path(folder))))
