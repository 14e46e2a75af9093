"""What the training of one fold leaves on disk. On a ring's chief only: ranks call all of this by `ring.on_chief`."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import keras
import pandas as pd
import tensorflow as tf

from common.files import remove_files, remove_temporaries, write_text
from common.locks import held
from common.streams import log_to
from models.weights import ENDING, load_recipe, save_weights
from training.curves import draw_history
from training.learner import Epoch
from training.logs import Logs
from training.state import Progress, TrainingState
from training.validation import Validation

MESSAGES = "messages.log"  # what could not be said: the terminal is gone, or its disk full


class Outputs:
    """The files of one fold: weights of its best and last epoch and of its cycles, recipes, the state, and the logs."""

    def __init__(self, weights: Path, logs: Path, fold: str, variables: Sequence[tf.Variable]):
        """Name the files; nothing is written yet. `variables`: all that training changes."""
        self._folder, self._fold = weights, fold
        self._best, self._last = (weights / f"{fold}_{pick}{ENDING}" for pick in ("best", "last"))
        self._state = TrainingState(weights / f"{fold}_state", variables)
        self._logs = Logs(logs)
        self._config, self._curves = weights / f"{fold}_config.yaml", weights / f"{fold}_curves.png"

    def __str__(self) -> str:
        return f"{self._folder}/{self._fold}_* and {self._logs.folder}/"

    def hold(self, stack: ExitStack) -> None:
        """Keep other runs away until `stack` closes, and remove what killed runs left half-written.

        Raises:
            InputError: another run is at it (the message says which), or a folder cannot be written to.
        """
        for folder in (self._state.folder, self._logs.folder):
            stack.enter_context(held(folder))
            remove_temporaries(folder)
        remove_temporaries(self._folder, f"{self._fold}_")
        log_to(self._logs.folder / MESSAGES)

    def resume(self, fresh: Progress) -> Progress:
        """Restore the variables and their progress from the state on disk; `fresh` where there is none."""
        return self._state.resume(fresh)

    def begin(self, config: str) -> None:
        """Write down the flags of this run, as YAML for `--config`."""
        write_text(self._config, config)
        self._logs.note(config)

    def last_recipe(self) -> dict:
        """The recipe of the last epoch's weights."""
        return load_recipe(self._last)

    def save(
        self,
        model: keras.Model,
        recipe: dict,
        progress: Progress,
        result: Validation,
        trained: Epoch,
        *,
        cycle: int | None = None,
    ) -> None:
        """Write all of an epoch. Its weights are kept where it is the best so far, and where it ends the cycle `cycle`.

        The first epoch of a training removes the cycles of one before it: they would mix with those to come.
        """
        if progress.epoch == 1:
            remove_files(self._folder, f"{self._fold}_cycle*")
        kept = [self._best] if progress.best_epoch == progress.epoch else []
        if cycle is not None:
            kept.append(self._folder / f"{self._fold}_cycle{cycle}{ENDING}")
        save_weights([*kept, self._last], model, recipe)
        table = pd.DataFrame(progress.history)
        draw_history(self._curves, table)
        self._logs.write(table, result.examples, trained)
        self._state.save(progress)  # last: a run killed before this line repeats the epoch and writes all again
