"""Weights with the recipe that made them, and the state that resuming needs. Numbers and JSON only, no pickle."""

import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from data.errors import InputError
from data.files import read_json, replacing, write_json
from models.unet import make_model

ENDING = ".weights.h5"
STATE = "state.npz"
RECIPE = {  # what a recipe must hold
    "sha256": str,
    "model": str,
    "target_size": int,
    "fold": str,
    "folds": int,
    "fingerprint": str,
    "score": float,
    "threshold": float,
    "epoch": int,
}
RANGES = {"target_size": (32, 1024), "folds": (1, 100), "score": (0, 1), "threshold": (0, 1), "epoch": (1, 100_000)}


def recipe_path(weights: str | Path) -> Path:
    """Where the recipe of a weights file lies: fold_0_best.weights.h5 -> fold_0_best.json."""
    weights = Path(weights)
    return weights.with_name(weights.name.removesuffix(ENDING) + ".json")


class _Memory(io.BytesIO):
    """A weights file in memory, which Keras takes for a path: HDF5 itself crashes the process when a disk is full."""

    def __str__(self) -> str:
        return f"memory{ENDING}"


def save_weights(paths: str | Path | Sequence[Path], model: keras.Model, recipe: dict) -> None:
    """Write a model's weights, to one path or the same to several, and beside each their recipe.

    At every moment the weights file is whole and its recipe is there: the new recipe comes first and carries the old
    one as "replaces", then the weights, then the recipe alone.
    """
    memory = _Memory()
    model.save_weights(memory)
    recipe = recipe | {"sha256": hashlib.sha256(memory.getbuffer()).hexdigest()}
    first, *others = [Path(paths)] if isinstance(paths, str | Path) else paths
    _write(first, lambda temporary: temporary.write_bytes(memory.getbuffer()), recipe)
    for path in others:
        _write(path, partial(_link, first), recipe)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system knows no hard links: files here are only replaced."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write(path: Path, write: Callable[[Path], object], recipe: dict) -> None:
    """Write a weights file and its recipe, as save_weights says."""
    before = None
    with contextlib.suppress(InputError):  # none yet, or damaged ones
        before = read_json(recipe_path(path))
        if "replaces" in before:  # a run was killed between the two: which of them holds?
            before = load_recipe(path)
    with replacing(path) as temporary:
        write(temporary)
        write_json(recipe_path(path), recipe | {"replaces": before})
    write_json(recipe_path(path), recipe)


def load_recipe(path: str | Path) -> dict:
    """Read the recipe of a weights file.

    Raises:
        InputError: either is missing, the recipe is not one of ours, or it describes another file than this one.
    """
    return _read(Path(path))[0]


def load_model(path: str | Path) -> tuple[keras.Model, dict]:
    """Rebuild the float32 model of a weights file from its recipe; returns the model and the recipe."""
    recipe, content = _read(Path(path))
    try:
        model = make_model(recipe["model"], recipe["target_size"])
    except InputError as error:
        raise InputError(f"{recipe_path(path)} describes what cannot be built: {error}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of layers that it finds no weights for
            model.load_weights(_Memory(content))
    except Exception as error:  # of a damaged file, Keras and HDF5 raise what they come upon
        reason = str(error).strip().splitlines()[0][:120]
        raise InputError(f"{path} holds no weights of {recipe['model']} ({reason}); restore or train them") from None
    return model, recipe


def _read(path: Path) -> tuple[dict, bytes]:
    """The recipe of a weights file and the file's bytes, which its checksum vouches for."""
    if not path.is_file():
        raise InputError(f"no weights file {path}; train first, or name another with --file_name")
    if not path.name.endswith(ENDING):
        raise InputError(f"{path} does not end in {ENDING}; give a file that tgs_train.py wrote")
    again, content = read_json(recipe_path(path)), b""
    recipe: dict = {}
    while recipe != again:  # a training that has just written others
        recipe = again
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        again = read_json(recipe_path(path))
    found = hashlib.sha256(content).hexdigest()
    before = recipe.get("replaces")
    if isinstance(before, dict) and found == before.get("sha256"):
        recipe = before  # the run that was to replace these weights was killed before it had
    for key, kind in RECIPE.items():
        if not isinstance(recipe.get(key), kind):
            raise InputError(f"{recipe_path(path)} lacks '{key}'; train again, or restore the file")
    for key, (low, high) in RANGES.items():
        if not low <= recipe[key] <= high:  # NaN neither
            raise InputError(f"{recipe_path(path)} has {recipe[key]} as '{key}'; train again, or restore the file")
    if found != recipe["sha256"]:
        raise InputError(
            f"{path} does not hold the weights that {recipe_path(path).name} describes; restore or train them"
        )
    return recipe, content


@cache
def versions() -> dict[str, str]:
    """What made a file: versions of Python, TensorFlow, Keras, numpy, and of this code (commit, digest)."""
    root = Path(__file__).resolve().parents[1]
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        git = "unknown"
    sources = sorted([*root.glob("models/*.py"), *root.glob("data/*.py"), root / "tgs_train.py"])
    return {
        "commit": git,
        "code": hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16],
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


@dataclass
class Progress:
    """How far a training has come; with the variables, all that resuming needs."""

    epoch: int = 0  # epochs done
    best_epoch: int = 0
    best_score: float = -1.0
    seconds: float = 0.0  # spent training, over all runs
    flags: dict = field(default_factory=dict)  # the flags that shape the result
    fingerprint: str = ""  # of the folds
    teacher: dict = field(default_factory=dict)  # in self-training, as models.self_training notes it
    history: list[dict] = field(default_factory=list)  # a row an epoch

    @property
    def last_score(self) -> float:
        """Validation score of the last epoch, 0..1; 0 before there is one."""
        return self.history[-1]["val_score"] if self.history else 0.0

    def add(self, row: dict, seconds: float) -> bool:
        """Count one more epoch; returns whether it is the best so far."""
        self.history.append(row)
        self.epoch, self.seconds = row["epoch"], self.seconds + seconds
        if row["val_score"] > self.best_score:
            self.best_epoch, self.best_score = self.epoch, row["val_score"]
        return self.best_epoch == self.epoch


def read_history(folder: str | Path) -> list[dict]:
    """The rows, one an epoch, of the training whose state lies in `folder`; none where there is no state to be read."""
    try:
        with np.load(Path(folder) / STATE, allow_pickle=False) as file:
            return Progress(**json.loads(file["progress"].tobytes())).history
    except Exception:  # of a damaged file, zipfile and numpy raise what they come upon
        return []


class TrainingState:
    """The file `<folder>/state.npz`: variables in order, and a `Progress`, replaced in one step each epoch."""

    def __init__(self, folder: str | Path, variables: Sequence[tf.Variable]):
        self.folder = Path(folder)
        self.path = self.folder / STATE
        self._variables = list(variables)

    def save(self, progress: Progress) -> None:
        """Replace the state on disk."""
        arrays = {f"variable_{k}": v.numpy() for k, v in enumerate(self._variables)}
        note = np.frombuffer(json.dumps(vars(progress)).encode(), np.uint8)
        with replacing(self.path) as temporary:
            np.savez(temporary, progress=note, **arrays)

    def resume(self, fresh: Progress) -> Progress:
        """Restore what is on disk; returns its progress, or `fresh` (and leaves the variables) when there is nothing.

        Raises:
            InputError: the state is damaged, of other folds, or was made with other flags or another teacher.
        """
        if not self.path.exists():
            return fresh
        progress, arrays = self._read()
        if progress.teacher.get("files") != fresh.teacher.get("files"):
            raise InputError(
                f"{self.path} was made with another --teacher, or its weights have changed since; "
                "restore them, or start anew with --resume=False"
            )
        for name, value in fresh.flags.items():
            if progress.flags.get(name) != value:
                raise InputError(
                    f"{self.path} was made with --{name}={progress.flags.get(name)}, not {value}; "
                    "repeat that flag, or start anew with --resume=False"
                )
        if progress.fingerprint != fresh.fingerprint:
            raise InputError(f"{self.path} was made with other folds; start anew with --resume=False")
        for variable, value in zip(self._variables, arrays, strict=True):
            variable.assign(value)
        return progress

    def _read(self) -> tuple[Progress, list[np.ndarray]]:
        try:
            with zipfile.ZipFile(self.path) as archive:  # checksums first: a damaged header can ask for any memory
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(f"{damaged} is damaged")
            with np.load(self.path, allow_pickle=False) as file:
                progress = Progress(**json.loads(file["progress"].tobytes()))
                if len(progress.history) != progress.epoch:
                    raise ValueError(f"{len(progress.history)} rows for {progress.epoch} epochs")
                arrays = [file[f"variable_{k}"] for k in range(len(self._variables))]
        except Exception as error:  # of a damaged file, zipfile and numpy raise what they come upon
            raise InputError(f"{self.path} cannot be read ({error}); start anew with --resume=False") from None
        for variable, value in zip(self._variables, arrays, strict=True):
            if tuple(variable.shape) != np.shape(value) or np.asarray(value).dtype != variable.dtype.as_numpy_dtype:
                raise InputError(f"{self.path} is of another model; start anew with --resume=False")
        return progress, arrays
