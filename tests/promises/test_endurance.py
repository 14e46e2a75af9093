"""A load that lasts: hundreds of epochs without growth, and a prediction of as many tiles as the competition has."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from data.submission import check_submission
from data.synthetic.tiles import make_sample
from tests.helpers.commands import command
from tests.helpers.machine import processor_time, slowdown
from tests.helpers.training import TINY

MB = 1024**2
TILES = 18_000


def memory(process: int, which: str = "VmRSS") -> int:
    """Resident bytes of a process, now or (VmHWM) at most."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(rf"{which}:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.slow
def test_memory_and_open_files_stay_as_they_are_over_200_epochs(workspace):
    line = command("tgs_train.py", *TINY, "--data_path=folds/fold_0", "--epochs=200")
    found = {}
    with subprocess.Popen(line, cwd=workspace, stdout=subprocess.PIPE, text=True) as training:
        for text in training.stdout:
            epoch = int((re.search(r"epoch (\d+)/200", text) or [0, 0])[1])
            if epoch in (40, 120, 199):
                found[epoch] = memory(training.pid), len(os.listdir(f"/proc/{training.pid}/fd"))
    assert training.returncode == 0
    print({epoch: f"{size / MB:.0f} MB, {files} files" for epoch, (size, files) in found.items()})
    (early, _), (_, between), (late, files) = found.values()
    assert late - early < 60 * MB  # less than 0.4 MB an epoch; a batch of tiles and masks has 0.6
    assert files == between


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18,000 files, links to 500 generated tiles."""
    path = tmp_path_factory.mktemp("many")
    make_sample(path / "tgs", n_train=1, n_test=500, seed=5)
    files = sorted((path / "tgs/test/images").iterdir())
    (path / "tiles").mkdir()
    for number in range(TILES):
        os.link(files[number % len(files)], path / f"tiles/{number:010x}.png")
    return path / "tiles"


@pytest.mark.slow
def test_18000_tiles_interrupted_killed_and_predicted(tiles, trained, tmp_path):
    flags = (
        f"--file_name={trained}/weights/tiny/fold_0_best.weights.h5", f"--data_path={tiles}", "--threshold=0.3",
        "--tta=False",
    )  # fmt: skip
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        with subprocess.Popen(command("tgs_predict.py", *flags), cwd=tmp_path, stderr=subprocess.PIPE) as prediction:
            while not (tmp_path / "submission").is_dir():  # made as the first tiles are read
                assert prediction.poll() is None
                time.sleep(0.1)
            at_work = processor_time(prediction.pid) + 2
            while processor_time(prediction.pid) < at_work:
                time.sleep(0.1)
            assert prediction.poll() is None
            prediction.send_signal(signum)
            struck = time.monotonic()
            assert prediction.wait(600) == code
            seconds = time.monotonic() - struck
            print(f"{signal.Signals(signum).name}: {seconds:.1f} s")
            assert seconds < 10 * slowdown()
        assert not list(tmp_path.rglob("*.csv"))
        shutil.rmtree(tmp_path / "submission", ignore_errors=True)
    started = time.monotonic()
    line = command("tgs_predict.py", *flags)
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as prediction:
        said = prediction.stdout.read()
        _, _, usage = os.wait4(prediction.pid, 0)
    peak = usage.ru_maxrss * 1024
    print(f"{TILES} tiles: {time.monotonic() - started:.0f} s, {peak / MB:.0f} MB at most")
    path = tmp_path / (re.search(r"^wrote (\S+){", said, re.M)[1] + ".csv")
    assert [path] == list(tmp_path.rglob("*.csv"))
    assert check_submission(path, {file.stem for file in tiles.iterdir()})[0] == TILES
    assert peak < 1500 * MB  # all tiles as images and probabilities would be 0.9 GB more
