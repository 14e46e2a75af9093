"""What a training leaves to look at beside its weights: history.csv and TensorBoard events."""

from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from common.errors import InputError
from common.files import make_folder, write_text
from training.learner import Epoch


class Logs:
    """Logs of one fold in `folder`."""

    def __init__(self, folder: Path):
        """Name the folder; nothing is written yet."""
        self.folder = folder
        self._history = folder / "history.csv"
        self._note = ""
        self._events = None  # made when first needed: to make it is to write

    def note(self, flags: str) -> None:
        """Let TensorBoard show these flags (YAML) with what follows."""
        self._note = flags

    def lack(self, history: pd.DataFrame) -> bool:
        """Tell whether history.csv holds anything else than these rows, one an epoch."""
        return not self._history.is_file() or self._history.read_bytes() != history.to_csv(index=False).encode()

    def write_history(self, history: pd.DataFrame) -> None:
        """Replace history.csv by these rows, one an epoch."""
        write_text(self._history, history.to_csv(index=False))

    def write_events(self, history: pd.DataFrame, examples: np.ndarray, epoch: Epoch) -> None:
        """Add the last epoch of `history` to TensorBoard: scalars, examples uint8 (H, W), loss and time of each step.

        Raises:
            InputError: they cannot be written. What comes later goes to a new file.
        """
        try:
            self._add(history.iloc[-1].to_dict(), examples, epoch)
        except tf.errors.OpError as error:  # of a full disk, TensorFlow's ResourceExhaustedError
            self._events = None
            reason = error.message.splitlines()[0].rsplit("; ", 1)[-1]
            raise InputError(f"cannot write {self.folder}/events.out.*: {reason}") from None

    def _add(self, last: dict[str, float], examples: np.ndarray, epoch: Epoch) -> None:
        number, steps = int(last["epoch"]), len(epoch.losses)
        if self._events is None:
            self._events = tf.summary.create_file_writer(str(make_folder(self.folder)))
            with self._events.as_default(step=number):
                tf.summary.text("flags", "".join(f"    {line}\n" for line in self._note.splitlines()))  # as code
        with self._events.as_default(step=number):
            for name, value in {**last, "images_per_second": epoch.speed}.items():
                tf.summary.scalar(name, value)
            tf.summary.image("image, truth, probability", examples[None, :, :, None])
            for k in range(steps):
                at = (number - 1) * steps + k + 1
                tf.summary.scalar("step/loss", epoch.losses[k], step=at)
                tf.summary.scalar("step/milliseconds", epoch.seconds[k] * 1000, step=at)
        self._events.flush()
