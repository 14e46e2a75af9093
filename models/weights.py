"""Weights with the recipe that made them. Numbers and JSON only, no pickle."""

import contextlib
import io
import os
import platform
import shutil
import subprocess
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from common.digests import digest
from common.errors import InputError, refusals
from common.files import read_json, replacing, write_json
from models.geometry import Geometry
from models.unet import make_model

ENDING = ".weights.h5"
RANGES = {"target_size": (32, 1024), "folds": (1, 100), "score": (0, 1), "threshold": (0, 1), "epoch": (1, 100_000)}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How weights were made, and all that prediction needs to rebuild their network. What is None is not in the file.

    `sha256` is of the weights file; save_weights fills it in.
    """

    teacher: dict | None = None  # in self-training, as training.teachers notes it
    model: str
    target_size: int  # pixels
    tile_size: int | None = None  # of the tile in it, where --tile_size said so
    fold: str
    folds: int  # in the split
    fingerprint: str  # of the split
    epoch: int  # epochs done
    cycle: int | None = None
    cycles: int | None = None
    score: float  # 0..1, of the validation tiles
    threshold: float  # 0..1
    train_seconds: float | None = None
    processes: int | None = None
    pretrained: dict | None = None  # file and SHA-256 of the encoder's first weights
    flags: dict | None = None
    versions: dict | None = None
    sha256: str = ""

    @classmethod
    def from_json(cls, values: dict) -> "Recipe":
        """Make one of what a recipe file holds; ValueError where that lacks something, or holds what cannot be."""
        known = {field.name: values.get(field.name) for field in fields(cls)}
        for field in fields(cls):
            if not isinstance(known[field.name], field.type):
                raise ValueError(f"lacks '{field.name}'")
        for name, (low, high) in RANGES.items():
            if not low <= known[name] <= high:  # NaN neither
                raise ValueError(f"has {known[name]} as '{name}'")
        if known["tile_size"] is not None and not 32 <= known["tile_size"] <= known["target_size"]:
            raise ValueError(f"has {known['tile_size']} as 'tile_size'")
        return cls(**known)

    @property
    def geometry(self) -> Geometry:
        """Where a tile lies in the network's input."""
        return Geometry(self.target_size, self.tile_size)

    def to_json(self) -> dict:
        """Give what a recipe file holds."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def recipe_path(weights: str | Path) -> Path:
    """Name the recipe of a weights file: fold_0_best.weights.h5 -> fold_0_best.json."""
    weights = Path(weights)
    return weights.with_name(weights.name.removesuffix(ENDING) + ".json")


class _Memory(io.BytesIO):
    """A weights file in memory, which Keras takes for a path: HDF5 itself crashes the process when a disk is full."""

    def __str__(self) -> str:
        return f"memory{ENDING}"


def save_weights(paths: str | Path | Sequence[Path], model: keras.Model, recipe: Recipe) -> None:
    """Write a model's weights, to one path or the same to several, and beside each their recipe.

    At every moment the weights file is whole and its recipe is there: the new recipe comes first and carries the old
    one as "replaces", then the weights, then the recipe alone.
    """
    memory = _Memory()
    model.save_weights(memory)
    recipe = replace(recipe, sha256=digest(memory.getbuffer()))
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


def _write(path: Path, write: Callable[[Path], object], recipe: Recipe) -> None:
    """Write a weights file and its recipe, as save_weights says."""
    before = None
    with contextlib.suppress(InputError):  # none yet, or damaged ones
        before = read_json(recipe_path(path))
        if "replaces" in before:  # a run was killed between the two: which of them holds?
            before = load_recipe(path).to_json()
    with replacing(path) as temporary:
        write(temporary)
        write_json(recipe_path(path), recipe.to_json() | {"replaces": before})
    write_json(recipe_path(path), recipe.to_json())


def load_recipe(path: str | Path) -> Recipe:
    """Read the recipe of a weights file.

    Raises:
        InputError: either is missing, the recipe is not one of ours, or it describes another file than this one.
    """
    return _read(Path(path))[0]


def peek_recipe(path: str | Path) -> Recipe:
    """Read the recipe of a weights file that load_model will read, and check, once: the file itself is left alone.

    But for one that a killed run has left in doubt which recipe holds. InputError: as for load_recipe.
    """
    path = Path(path)
    _check(path)
    values = read_json(recipe_path(path))
    return load_recipe(path) if "replaces" in values else _recipe(path, values)


def load_model(path: str | Path) -> tuple[keras.Model, Recipe]:
    """Rebuild the float32 model of a weights file from its recipe; returns the model and the recipe."""
    recipe, content = _read(Path(path))
    try:
        model = make_model(recipe.model, recipe.target_size)
    except InputError as error:
        raise InputError(f"{recipe_path(path)} describes what cannot be built: {error}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of layers that it finds no weights for
            model.load_weights(_Memory(content))
    except Exception as error:  # of a damaged file, Keras and HDF5 raise what they come upon
        reason = str(error).strip().splitlines()[0][:120]
        raise InputError(f"{path} holds no weights of {recipe.model} ({reason}); restore or train them") from None
    return model, recipe


def _check(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"no weights file {path}; train first, or name another with --file_name")
    if not path.name.endswith(ENDING):
        raise InputError(f"{path} does not end in {ENDING}; give a file that tgs_train.py wrote")


def _recipe(path: Path, values: dict) -> Recipe:
    """Make the recipe of a weights file of what is in the file beside it."""
    try:
        return Recipe.from_json(values)
    except ValueError as error:
        raise InputError(f"{recipe_path(path)} {error}; train again, or restore the file") from None


def _read(path: Path) -> tuple[Recipe, bytes]:
    """Read the recipe of a weights file and the file's bytes, which its checksum vouches for."""
    _check(path)
    again, content = read_json(recipe_path(path)), b""
    values: dict = {}
    while values != again:  # a training that has just written others
        values = again
        with refusals("read", path):
            content = path.read_bytes()
        again = read_json(recipe_path(path))
    found = digest(content)
    before = values.get("replaces")
    if isinstance(before, dict) and found == before.get("sha256"):
        values = before  # the run that was to replace these weights was killed before it had
    recipe = _recipe(path, values)
    if found != recipe.sha256:
        raise InputError(
            f"{path} does not hold the weights that {recipe_path(path).name} describes; restore or train them"
        )
    return recipe, content


@cache
def versions() -> dict[str, str]:
    """Tell what makes a file: versions of Python, TensorFlow, Keras, numpy, and of this code (commit, digest)."""
    root = Path(__file__).resolve().parents[1]
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        git = "unknown"
    packages = ("common", "data", "models", "training")
    sources = sorted([*(path for name in packages for path in root.glob(f"{name}/**/*.py")), root / "tgs_train.py"])
    return {
        "commit": git,
        "code": digest(*sources)[:16],
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
