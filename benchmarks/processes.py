"""The scripts as processes of their own: how soon they answer, how soon they train, how much memory they take."""

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.material import Project, seconds
from benchmarks.table import Row

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("tgs_preprocess.py", "tgs_train.py", "tgs_train_ring.py", "tgs_predict.py")

# tgs_train.py up to the end of its first step: what it calls after each step to move the bar says the time instead.
FIRST_STEP = """
import os, sys, time
import tgs_train

def done(shown, images, numbers, losses):
    float(losses[-1])  # to read it waits for the device
    print(time.time(), flush=True)
    os._exit(0)

tgs_train.show_step = done
tgs_train.main(sys.argv[1:])
"""

# tgs_train.py with epochs of five steps, then the process's own peak: what a parent is told (ru_maxrss) of a child
# includes what the parent itself had when it forked.
MEMORY = """
import sys
from common.backend import load_tensorflow
load_tensorflow()
import tgs_train
from training.batches import TrainingBatches

whole = TrainingBatches.epoch
TrainingBatches.epoch = lambda self, epoch: whole(self, epoch).take(5)
tgs_train.main(sys.argv[1:])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def process_rows(rounds: int, small: Project, full: Project, network: tuple[str, int]) -> list[Row]:
    """Rows of `--help`, of the first step on the `small` project, and of `network`'s memory on the `full` one."""
    return [*help_rows(rounds), first_step_row(rounds, small), *memory_rows(full, network)]


def help_rows(rounds: int) -> list[Row]:
    """Seconds from the start of each script to the end of its `--help`."""
    return [
        Row(
            f"{script} --help",
            "s",
            seconds(lambda script=script: _python(ROOT, ROOT / script, "--help"), rounds),
            0.25,
            note="a process of its own, from start to end",
        )
        for script in SCRIPTS
    ]


def first_step_row(rounds: int, project: Project) -> Row:
    """Seconds from the start of the process to the end of the first training step of tgs_train.py."""
    flags = ("--data_path=folds/fold_0", "--model=tiny", "--target_size=64", "--resume=False")
    values = []
    for _ in range(rounds):
        began = time.time()
        values.append(float(_python(project.folder, "-c", FIRST_STEP, *flags).split()[-1]) - began)
    return Row(
        "start to the end of the first training step",
        "s",
        values,
        8.0,
        note="tgs_train.py --model=tiny --target_size=64, 60 tiles, interpreter and TensorFlow included; said by "
        "what the script calls after a step",
    )


def memory_rows(project: Project, network: tuple[str, int]) -> list[Row]:
    """Peak memory of a short training in each precision; measured once: it hardly varies."""
    name, size = network
    found = []
    for mixed, precision in ((False, "float32"), (True, "bfloat16")):
        flags = ("--data_path=folds/fold_0", f"--model={name}", f"--target_size={size}", "--epochs=1")
        places = (f"--weights_path=memory_{precision}", f"--log_dir=memory_{precision}_logs")
        said = _python(project.folder, "-c", MEMORY, *flags, *places, f"--mixed_precision={mixed}")
        found.append(
            Row(
                f"peak memory of training, {precision}",
                "GB",
                [int(said.split()[-2]) * 1024 / 1e9],
                3.0,
                note=f"tgs_train.py --model={name} --target_size={size}, batch 16, {project.source}: 5 steps, whole "
                "validation, saving; VmHWM",
            )
        )
    return found


def _python(folder: Path, *arguments: object) -> str:
    """What a process of this interpreter prints, run in `folder` with this code to import."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{arguments[-1]}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
