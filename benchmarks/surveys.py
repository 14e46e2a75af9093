"""What a SEG-Y survey costs beside the network, and what a second process brings.

    python -m benchmarks.surveys '{"path": "survey.sgy", "model": "tiny", "side": 64, "hvd": false}'

is one process of the comparison, or under mpirun with "hvd" true one rank, pinned to the core of its number; it prints
the seconds of a prediction, and those of them in the network.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import segyio

from benchmarks.material import seconds
from benchmarks.ring import ENVIRONMENT, MPIRUN
from benchmarks.table import Row, ratio
from common.backend import load_tensorflow
from data.seismic.segy import FLOAT, Copy, Survey
from data.synthetic.survey import make_survey

SIZE, SMALL = (60, 300, 500), (4, 110, 110)  # inlines, crosslines, samples


def rows(rounds: int, tiny: bool) -> list[Row]:
    """All rows of surveys, each of `rounds` values; `tiny` goes through all of it with a few short lines."""
    load_tensorflow()
    name, side = ("tiny", 32) if tiny else ("resnet34", 128)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        path = Path(scratch, "survey.sgy")
        make_survey(path, size=SMALL if tiny else SIZE)
        few = Path(scratch, "few.sgy")
        make_survey(few, size=SMALL if tiny else (8, *SIZE[1:]))
        found = [*copy_rows(rounds, path), outside_row(rounds, few, model=name, side=side)]
        if find_spec("horovod") and shutil.which("mpirun", path=ENVIRONMENT["PATH"]) and os.cpu_count() > 1:
            found += ring_rows(rounds, few if tiny else path, model="tiny", side=32 if tiny else 64)
    return found


# ---- in this process -----------------------------------------------------------------------------------------


def copy_rows(rounds: int, path: Path) -> list[Row]:
    """Reading and writing all lines, beside a copy of the file by segyio alone."""

    def ours() -> None:
        survey = Survey(path)
        copy = Copy(survey, path.with_name("ours.sgy"), FLOAT)
        copy.create("a note")
        for line in survey.lines("inline"):
            copy.write(line.traces, survey.read(line.traces))

    def segyio_alone() -> None:
        with segyio.open(path) as source:
            spec = segyio.tools.metadata(source)
            with segyio.create(path.with_name("theirs.sgy"), spec) as target:
                target.text[0], target.bin = source.text[0], source.bin
                target.header = source.header
                for line in range(len(source.ilines)):
                    traces = slice(line * len(source.xlines), (line + 1) * len(source.xlines))
                    target.trace.raw[traces] = source.trace.raw[traces]

    on = f"{path.stat().st_size / 1e6:.0f} MB"
    both = [(seconds(ours, 1)[0], seconds(segyio_alone, 1)[0]) for _ in range(rounds)]
    read = Row("a survey's lines read and written", "s", [a for a, _ in both], note=f"data.seismic.segy, {on}")
    copied = Row("the same file copied by segyio", "s", [b for _, b in both], note="headers, and traces by inlines")
    times = [a / b for a, b in both]
    return [read, copied, Row("a survey read and written / copied by segyio", "x", times, 2.0)]


class Clocked:
    """A predictor that counts the seconds spent in it."""

    def __init__(self, predictor):
        self.predictor, self.seconds = predictor, 0.0

    def __call__(self, images):
        began = time.perf_counter()
        found = self.predictor(images)
        self.seconds += time.perf_counter() - began
        return found


def ensemble(name: str, side: int, batch_size: int) -> SimpleNamespace:
    """A network that was never trained, as surveys are predicted by."""
    from models.geometry import Geometry
    from models.predictor import Predictor
    from models.unet import make_model

    predictor = Clocked(Predictor([(make_model(name, side), Geometry(side))], batch_size=batch_size, tta=True))
    return SimpleNamespace(name=name, predictor=predictor, threshold=0.5, min_area=0, note={}, recipes=[])


def predict(path: Path, name: str, side: int, ring) -> tuple[float, float]:
    """Predict a survey, after a first line to warm up: seconds in all, and in the network."""
    from models.volumes import predict_lines
    from models.walk import Walk

    walk = Walk(Survey(path), tile=101, overlap=0.5, batch_size=64)
    network = ensemble(name, side, walk.batch_size)
    walk.predict(walk.lines["inline"][0], network.predictor)
    network.predictor.seconds = 0.0
    ring.on_all(lambda: None)
    began = time.perf_counter()
    with ExitStack() as stack:
        folder = Path(ring.on_chief(lambda: stack.enter_context(tempfile.TemporaryDirectory(dir=path.parent))))
        unfinished = predict_lines(walk, network, folder, ring, stack, flags={}, mask=False)
        ring.on_chief(unfinished.finish, folder / "x", array=False)
    return time.perf_counter() - began, network.predictor.seconds


# ---- in processes of their own, each on a core of its own -----------------------------------------------------


def seconds_of(path: Path, *, ranks: int = 0, **network) -> tuple[float, float]:
    """Predict a survey by a ring, or by a process without one: seconds in all, and of rank 0 in the network."""
    settings = json.dumps({"path": str(path), "hvd": ranks > 0} | network)
    launcher = MPIRUN.format(n=ranks).split() if ranks else []
    line = [*launcher, sys.executable, "-m", "benchmarks.surveys", settings]
    done = subprocess.run(line, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def outside_row(rounds: int, path: Path, **network) -> Row:
    """The share of a prediction that is not the network's."""
    took = [seconds_of(path, **network) for _ in range(rounds)]
    shares = [100 * (whole - inside) / whole for whole, inside in took]
    note = f"{network['model']}, {network['side']} px, {Survey(path)}, one core: reading, windows, blending, writing"
    return Row("share of predicting a survey outside the network", "%", shares, 10.0, note=note)


def ring_rows(rounds: int, path: Path, **network) -> list[Row]:
    """Rings of one and of two in turn."""
    speeds: dict[int, list[float]] = {1: [], 2: []}
    survey = Survey(path)
    for _ in range(rounds):
        for ranks, found in speeds.items():
            found.append(len(survey.inlines) / seconds_of(path, ranks=ranks, **network)[0])
    note = f"{network['model']}, {network['side']} px, windows of 101, {survey}, a core each"
    one = Row("a survey by one process", "lines/s", speeds[1], note=note)
    two = Row("by a ring of two", "lines/s", speeds[2], note=note)
    twice = Row("2 x one process", "lines/s", [2 * speed for speed in speeds[1]])
    return [one, two, ratio("a survey by two / 2 x by one process", two, twice, 0.92)]


def main() -> None:
    """Predict alone, or with the ranks of this ring, and print the seconds."""
    settings = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {int(os.environ.get("OMPI_COMM_WORLD_RANK", "0"))})
    load_tensorflow()
    from common.ring.join import join

    def job(ring) -> None:
        took = predict(Path(settings["path"]), settings["model"], settings["side"], ring)
        ring.print(json.dumps(took))

    join(settings["hvd"], job, threads=1)


if __name__ == "__main__":
    main()
