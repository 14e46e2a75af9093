"""Weights with the recipe that made them, and the state that resuming needs. Numbers and JSON only, no pickle."""

import hashlib
import json
import platform
import subprocess
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from data.errors import InputError
from data.files import read_json, replacing, write_json
from models.unet import make_model

ENDING = ".weights.h5"
RECIPE_KEYS = {"digest", "model", "target_size", "fold", "folds", "fingerprint", "score", "threshold", "epoch"}


def recipe_path(weights: str | Path) -> Path:
    """Where the recipe of a weights file lies: fold_0_best.weights.h5 -> fold_0_best.json."""
    weights = Path(weights)
    return weights.with_name(weights.name.removesuffix(ENDING) + ".json")


def save_weights(path: str | Path, model: keras.Model, recipe: dict) -> None:
    """Write a model's weights and, beside them, their recipe; each replaces what was there in one step."""
    with replacing(path) as temporary:
        model.save_weights(temporary)
    write_json(recipe_path(path), recipe | {"digest": digest(model)})


def digest(model: keras.Model) -> str:
    """Sixteen hex digits that name a model's weights."""
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()[:16]


def load_recipe(path: str | Path) -> dict:
    """Read the recipe of a weights file; InputError when either is missing or the recipe is not one of ours."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no weights file {path}; train first, or name another with --file_name")
    if not path.name.endswith(ENDING):
        raise InputError(f"{path} does not end in {ENDING}; give a file that tgs_train.py wrote")
    recipe = read_json(recipe_path(path))
    if missing := RECIPE_KEYS - recipe.keys():
        raise InputError(f"{recipe_path(path)} lacks '{min(missing)}'; train again, or restore the file")
    return recipe


def load_model(path: str | Path) -> tuple[keras.Model, dict]:
    """Rebuild the float32 model of a weights file from its recipe; returns the model and the recipe."""
    recipe = load_recipe(path)
    model = make_model(recipe["model"], recipe["target_size"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras only warns of layers that it finds no weights for: see below
            model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise InputError(f"{path} holds no weights of {recipe['model']} ({reason}); restore or train them") from None
    if digest(model) != recipe["digest"]:
        raise InputError(
            f"{path} does not hold the weights that {recipe_path(path).name} describes; restore or train them"
        )
    return model, recipe


def versions() -> dict[str, str]:
    """What made a file: versions of Python, TensorFlow, Keras, numpy, and the commit of this code where known."""
    here = Path(__file__).resolve().parent
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        git = "unknown"
    return {
        "commit": git,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


@dataclass
class Progress:
    """How far a training has come; with the variables, all that resuming needs."""

    epoch: int = 0  # epochs done
    best_score: float = -1.0
    seconds: float = 0.0  # spent training, over all runs
    flags: dict = field(default_factory=dict)  # the flags that shape the result
    fingerprint: str = ""  # of the folds
    history: list[dict] = field(default_factory=list)  # a row an epoch


class TrainingState:
    """The file `<folder>/state.npz`: variables in order, and a `Progress`, replaced in one step each epoch."""

    def __init__(self, folder: str | Path, variables: Sequence[tf.Variable]):
        self.path = Path(folder) / "state.npz"
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
            InputError: the state is damaged, of other folds, or was made with other flags.
        """
        if not self.path.exists():
            return fresh
        progress, arrays = self._read()
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
            with np.load(self.path, allow_pickle=False) as file:
                progress = Progress(**json.loads(file["progress"].tobytes()))
                arrays = [file[f"variable_{k}"] for k in range(len(self._variables))]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path} cannot be read ({error}); start anew with --resume=False") from None
        for variable, value in zip(self._variables, arrays, strict=True):
            if tuple(variable.shape) != value.shape:
                raise InputError(f"{self.path} is of another model; start anew with --resume=False")
        return progress, arrays
