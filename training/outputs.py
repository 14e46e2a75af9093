"""What the training of one fold leaves on disk. Every rank of a ring calls; the chief alone reads and writes."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import keras
import pandas as pd
import tensorflow as tf

from common.errors import InputError
from common.files import remove_files, remove_temporaries, write_text
from common.locks import held
from common.ring.base import Ring
from common.streams import log_to
from models.weights import ENDING, Recipe, load_recipe, save_weights
from training.learner import Epoch
from training.logs import Logs
from training.state import Progress, TrainingState
from training.validation import Validation

MESSAGES = "messages.log"  # what could not be said: the terminal is gone, or its disk full


class Outputs:
    """The files of one fold: weights of its best and last epoch and of its cycles, recipes, the state, and the logs."""

    def __init__(self, weights: Path, logs: Path, fold: str, variables: Sequence[tf.Variable], ring: Ring):
        """Name the files; nothing is written yet. `variables`: all that training changes."""
        self.folder, self._fold, self._ring = weights, fold, ring
        self._best, self._last = (weights / f"{fold}_{pick}{ENDING}" for pick in ("best", "last"))
        self._variables, self._state = variables, TrainingState(weights / f"{fold}_state", variables)
        self._logs = Logs(logs)
        self._config, self._curves = weights / f"{fold}_config.yaml", weights / f"{fold}_curves.png"

    def __str__(self) -> str:
        return f"{self.folder}/{self._fold}_* and {self._logs.folder}/"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs away meanwhile; first remove what killed runs left half-written.

        Raises:
            InputError: another run is at it (the message says which), or a folder cannot be written to.
        """
        with ExitStack() as stack:
            self._ring.on_chief(self._hold, stack)
            yield

    def _hold(self, stack: ExitStack) -> None:
        for folder in (self._state.folder, self._logs.folder):
            stack.enter_context(held(folder))
            remove_temporaries(folder)
        remove_temporaries(self.folder, f"{self._fold}_")
        log_to(self._logs.folder / MESSAGES)

    def resume(self, fresh: Progress, *, anew: bool = False) -> Progress:
        """Restore variables and progress from the state on disk; `fresh` where there is none, or with `anew`."""
        progress = self._ring.on_chief(self._restore, fresh, anew)
        self._ring.broadcast(self._variables)
        return Progress.from_json(progress)

    def _restore(self, fresh: Progress, anew: bool) -> dict:
        progress = fresh if anew else self._state.resume(fresh)
        if progress.epoch:
            table = pd.DataFrame(progress.history)
            if self._logs.lack(table):  # a run was killed, or its disk full, after it had saved the state
                self._show(table)
        return progress.to_json()

    def begin(self, config: str) -> None:
        """Write down the flags of this run, as YAML for `--config`."""
        self._logs.note(config)
        self._ring.on_chief(write_text, self._config, config)

    def last_recipe(self) -> Recipe:
        """Read the recipe of the last epoch's weights."""
        return Recipe.from_json(self._ring.on_chief(lambda: load_recipe(self._last).to_json()))

    def save(
        self,
        model: keras.Model,
        recipe: Recipe,
        progress: Progress,
        result: Validation,
        trained: Epoch,
        *,
        cycle: int | None = None,
    ) -> None:
        """Write all of an epoch. Its weights are kept where it is the best so far, and where it ends the cycle `cycle`.

        The first epoch of a training removes the cycles of one before it: they would mix with those to come.
        """

        def write() -> None:
            if progress.epoch == 1:
                remove_files(self.folder, f"{self._fold}_cycle*")
            kept = [self._best] if progress.best_epoch == progress.epoch else []
            if cycle is not None:
                kept.append(self.folder / f"{self._fold}_cycle{cycle}{ENDING}")
            save_weights([*kept, self._last], model, recipe)
            self._state.save(progress)  # a run killed before this line repeats the epoch and writes all again
            table = pd.DataFrame(progress.history)
            self._show(table)
            with _warned(f"write {self._logs.folder}/events.out.*"):
                self._logs.write_events(table, result.examples, trained)

        self._ring.on_chief(write)

    def _show(self, table: pd.DataFrame) -> None:
        """Draw the curves of a history and, last, write it: what lacks rows is found by this file."""
        with _warned(f"draw {self._curves}"):
            from training.curves import draw_history  # Matplotlib: half a second, spared to the first step

            draw_history(self._curves, table)
        with _warned(f"write {self._logs.folder}/history.csv"):
            self._logs.write_history(table)


@contextmanager
def _warned(what: str) -> Iterator[None]:
    """Say in one line on stderr what fails meanwhile: an epoch is worth more than its picture."""
    try:
        yield
    except Exception as error:  # of what matplotlib or TensorFlow come upon
        reason = str(error) if isinstance(error, InputError) else f"cannot {what}: {error or type(error).__name__}"
        print(f"warning: {' '.join(reason.split())[:300]}; the training goes on", file=sys.stderr, flush=True)
