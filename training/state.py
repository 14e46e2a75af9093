"""The state that resuming a training needs. Numbers and JSON only, no pickle."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.errors import InputError
from common.files import replacing
from training.settings import Settings

STATE = "state.npz"


@dataclass
class Progress:
    """How far a training has come; with the variables, all that resuming needs."""

    epoch: int = 0  # epochs done
    best_epoch: int = 0
    best_score: float = -1.0
    seconds: float = 0.0  # spent training, over all runs
    settings: Settings = field(default_factory=Settings)
    fingerprint: str = ""  # of the folds
    teacher: dict = field(default_factory=dict)  # in self-training, as training.teachers notes it
    history: list[dict] = field(default_factory=list)  # a row an epoch

    @classmethod
    def from_json(cls, values: dict) -> "Progress":
        """Make one of what `to_json` gave."""
        settings = Settings.from_state(values["flags"])
        return cls(settings=settings, **{name: value for name, value in values.items() if name != "flags"})

    def to_json(self) -> dict:
        """Give what JSON can hold; the settings under the name of what they are read from, `flags`."""
        return {"flags" if name == "settings" else name: value for name, value in asdict(self).items()}

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


class TrainingState:
    """The file `<folder>/state.npz`: variables in order, and a `Progress`, replaced in one step each epoch."""

    def __init__(self, folder: str | Path, variables: Sequence[tf.Variable]):
        """Name the file; nothing is read or written yet."""
        self.folder = Path(folder)
        self.path = self.folder / STATE
        self._variables = list(variables)

    def save(self, progress: Progress) -> None:
        """Replace the state on disk."""
        arrays = {f"variable_{k}": v.numpy() for k, v in enumerate(self._variables)}
        note = np.frombuffer(json.dumps(progress.to_json()).encode(), np.uint8)
        with replacing(self.path) as temporary:
            np.savez(temporary, progress=note, **arrays)

    def resume(self, fresh: Progress) -> Progress:
        """Restore what is on disk; returns its progress, or `fresh` (and leaves the variables) when there is nothing.

        Raises:
            InputError: the state is damaged, of other folds, or was made with other settings or another teacher.
        """
        if not self.path.exists():
            return fresh
        progress, arrays = self._read()
        if progress.teacher.get("files") != fresh.teacher.get("files"):
            raise InputError(
                f"{self.path} was made with another --teacher, or its weights have changed since; "
                "restore them, or start anew with --resume=False"
            )
        for name, (then, now) in progress.settings.differences(fresh.settings).items():
            raise InputError(
                f"{self.path} was made with --{name}={then}, not {now}; "
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
                progress = Progress.from_json(json.loads(file["progress"].tobytes()))
                if len(progress.history) != progress.epoch:
                    raise ValueError(f"{len(progress.history)} rows for {progress.epoch} epochs")
                arrays = [file[f"variable_{k}"] for k in range(len(self._variables))]
        except Exception as error:  # of a damaged file, zipfile and numpy raise what they come upon
            raise InputError(f"{self.path} cannot be read ({error}); start anew with --resume=False") from None
        for variable, value in zip(self._variables, arrays, strict=True):
            if tuple(variable.shape) != np.shape(value) or np.asarray(value).dtype != variable.dtype.as_numpy_dtype:
                raise InputError(f"{self.path} is of another model; start anew with --resume=False")
        return progress, arrays
