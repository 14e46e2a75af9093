"""Mutated files by the thousand: `python -m tests.promises.fuzz TRAINED FOLDER` writes each into FOLDER and reads it.

TRAINED is a folder with weights/tiny/fold_0_best.weights.h5 and its recipe. Each file must be read or refused in one
line. A summary a kind is printed as JSON: files, refused, seconds, growth of the peak memory in MB. The same files in
every run.
"""

import io
import json
import random
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from common.backend import load_tensorflow
from common.errors import InputError
from data.folds.fold import read_folds_csv
from data.rle import decode_rle, encode_rle
from data.seismic.sections import read_section
from data.submission import check_submission
from data.tables import check_train_csv, read_depths
from data.tiles import TileSet, read_image, read_mask
from tests.promises.mutations import CELLS, RUNS, Rng, mutate, mutate_npz, mutate_png, mutate_text

SECONDS = 20  # for one file; a second is long


# ---- kinds: each yields, for ever, a function that reads the next mutated file ---------------------------------

Trials = Iterator[Callable[[], object]]


def pngs(rng: Rng, folder: Path, kind: str) -> Trials:
    import cv2

    texture = np.random.default_rng(0).normal(size=(101, 101)).cumsum(axis=1).astype(np.uint8)
    images = {
        "image": [texture, np.dstack([texture] * 3)],
        "mask": [
            (texture > 99) * np.uint8(255),
            (texture > 99) * np.uint16(65535),
            np.dstack([(texture > 99) * np.uint8(255)] * 3),
        ],
        "section": [texture[:40], texture * np.uint16(257)],
    }[kind]
    read = {"image": read_image, "mask": read_mask, "section": read_section}[kind]
    seeds = [cv2.imencode(".png", image)[1].tobytes() for image in images]
    while True:
        (folder / "x.png").write_bytes(mutate_png(rng, rng.choice(seeds)))
        yield lambda: read(folder / "x.png")


def arrays(rng: Rng, folder: Path) -> Trials:
    """Sections as .npy, mutated mostly in their header, which numpy has Python parse."""
    values = np.arange(600).reshape(20, 30)
    while True:
        file = io.BytesIO()
        np.save(file, np.array(values, rng.choice(["u1", "<f4", ">i2", "f8"]), order=rng.choice("CF")))
        content = file.getvalue()
        header = mutate_text(rng, content[10:127].decode(), ",:'{(<", [*CELLS, "|O", "<f8", "(", "9L", "True", "None"])
        deep = content[:8] + (len(header) + rng.choice((0, 0, 0, 1))).to_bytes(2, "little") + header + content[128:]
        (folder / "x.npy").write_bytes(deep if rng.random() < 0.7 else mutate(rng, content))
        yield lambda: read_section(folder / "x.npy")


def csvs(rng: Rng, folder: Path) -> Trials:
    ids = [f"{k:010x}" for k in range(8)]
    masks = np.zeros((8, 101, 101), np.uint8)
    masks[:, 0, :2] = 1
    tiles = TileSet(ids, masks, masks)
    runs = "".join(f"{name},1 1 102 1\n" for name in ids)
    seeds = [
        ("train.csv", "id,rle_mask\n" + runs, lambda path: check_train_csv(path, tiles)),
        ("submission.csv", "id,rle_mask\n" + runs, lambda path: check_submission(path, set(ids))),
        ("depths.csv", "id,z\n" + "".join(f"{name},{k}\n" for k, name in enumerate(ids)), read_depths),
        (
            "folds.csv",
            "id,fold,coverage,coverage_class,depth,group\n"
            + "".join(f"{n},{k % 2},0.5,5,300,{k}\n" for k, n in enumerate(ids)),
            lambda path: read_folds_csv(path.parent),
        ),
    ]
    while True:
        name, text, read = rng.choice(seeds)
        (folder / name).write_bytes(mutate_text(rng, text, ",\n ", CELLS))
        yield lambda path=folder / name, read=read: read(path)


def runs(rng: Rng, folder: Path) -> Trials:
    """Run-length strings: what is decoded encodes to the same mask."""

    def read(text: str) -> None:
        mask = decode_rle(text)
        assert mask.sum() == sum(map(int, text.split()[1::2]))
        assert np.array_equal(decode_rle(encode_rle(mask)), mask)

    while True:
        numbers = sorted(rng.sample(range(1, 10201, 2), 20))
        text = " ".join(f"{number} {rng.choice((1, 1, 1, 2))}" for number in numbers)
        text = mutate_text(rng, text, " ", RUNS).decode(errors="replace")
        yield lambda text=text: read(text)


def weights(rng: Rng, folder: Path, trained: Path, kind: str) -> Trials:
    """Weights whose recipe vouches for them, so that HDF5 and Keras see them; or recipes."""
    import hashlib

    from models import weights as checkpoints

    checkpoints.make_model = cache(checkpoints.make_model)
    file, note = folder / "x.weights.h5", folder / "x.json"
    content = (trained / "weights/tiny/fold_0_best.weights.h5").read_bytes()
    recipe = json.loads((trained / "weights/tiny/fold_0_best.json").read_text())
    marks = [k for k in range(len(content)) if content[k : k + 4] in (b"OHDR", b"TREE", b"SNOD", b"HEAP", b"\x89HDF")]
    file.write_bytes(content)
    while True:
        if kind == "recipe":
            note.write_bytes(
                mutate_text(rng, json.dumps(recipe), ',:"{[ ', [*CELLS, "null", "true", "[", "{", "1e400"])
            )
            yield lambda: checkpoints.load_recipe(file)
            continue
        at = rng.choice(marks) + rng.randrange(64)  # where HDF5 keeps its structure: most of the file is numbers
        changed = content[:at] + mutate(rng, content[at : at + 200]) + content[at + 200 :]
        changed = changed if rng.random() < 0.8 else mutate(rng, content)
        file.write_bytes(changed)
        note.write_text(json.dumps(recipe | {"sha256": hashlib.sha256(changed).hexdigest()}))
        yield lambda: checkpoints.load_model(file)


def encoders(rng: Rng, folder: Path) -> Trials:
    """Pretrained weights of the tiny model, mutated mostly in their header."""
    from safetensors.numpy import save

    from models import make_model
    from models.pretrained.load import NORM, load_encoder

    model, tensors = make_model("tiny", 32), {}
    for layer in model.layers:
        if layer.name.startswith("encoder.") and layer.weights:
            parts = NORM if len(layer.weights) > 1 else ("weight",)
            for part, weight in zip(parts, layer.get_weights(), strict=True):
                value = weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight
                tensors[f"{layer.name.removeprefix('encoder.')}.{part}"] = np.ascontiguousarray(value)
    content = save(tensors)
    header = 8 + int.from_bytes(content[:8], "little")
    while True:
        deep = rng.random() < 0.7
        text = mutate_text(rng, content[8:header].decode(), ',:"{[ ', [*CELLS, "I64", "BF16", "F16", "null", "[", "-1"])
        changed = struct.pack("<Q", len(text)) + text + content[header:] if deep else mutate(rng, content)
        (folder / "x.safetensors").write_bytes(changed)
        yield lambda: load_encoder(model, folder / "x.safetensors")


def states(rng: Rng, folder: Path) -> Trials:
    """The state that resuming needs."""
    import tensorflow as tf

    from training.settings import Settings
    from training.state import Progress, TrainingState

    state = TrainingState(folder, [tf.Variable(tf.zeros(shape)) for shape in ((3, 4), (7,), ())])
    fresh = Progress(settings=Settings(model="tiny", epochs=2), fingerprint="f")
    state.save(Progress(epoch=1, settings=fresh.settings, fingerprint="f", history=[{"epoch": 1, "val_score": 0.5}]))
    content = state.path.read_bytes()
    while True:
        state.path.write_bytes(mutate_npz(rng, content, folder / "aside.npz"))
        yield lambda: state.resume(fresh)


# ---- the run ---------------------------------------------------------------------------------------------------


def peak() -> int:
    """The most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def attempt(name: str, read: Callable[[], object]) -> bool:
    """Read a file; returns whether it was refused as it should be. Anything else is told on stderr."""
    try:
        read()
    except Exception as error:
        wanted = ValueError if name.startswith("rle") else InputError
        if isinstance(error, wanted) and "\n" not in str(error):
            return True
        print(f"{name}: {error!r}", traceback.format_exc().splitlines()[-4:], file=sys.stderr)
    return False


def main(trained: Path, folder: Path) -> None:
    load_tensorflow()
    kinds = {
        "image": (700, lambda rng: pngs(rng, folder, "image")),
        "mask": (400, lambda rng: pngs(rng, folder, "mask")),
        "section": (300, lambda rng: pngs(rng, folder, "section")),
        "array": (500, lambda rng: arrays(rng, folder)),
        "csv": (500, lambda rng: csvs(rng, folder)),
        "rle": (500, lambda rng: runs(rng, folder)),
        "weights": (60, lambda rng: weights(rng, folder, trained, "weights")),
        "recipe": (200, lambda rng: weights(rng, folder, trained, "recipe")),
        "encoder": (200, lambda rng: encoders(rng, folder)),
        "state": (300, lambda rng: states(rng, folder)),
    }
    summary = {}
    for kind, (files, trials) in kinds.items():
        trial = trials(random.Random(kind))
        attempt(kind, next(trial))  # what is loaded once
        refused, before, began = 0, peak(), time.perf_counter()
        for k in range(files):
            signal.alarm(SECONDS)  # ends the process
            refused += attempt(f"{kind} {k}", next(trial))
        signal.alarm(0)
        seconds = round(time.perf_counter() - began, 1)
        summary[kind] = {"files": files, "refused": refused, "seconds": seconds, "peak_growth_mb": peak() - before}
    print(json.dumps(summary))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
