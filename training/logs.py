"""What a training leaves to look at beside its weights: history.csv and TensorBoard events."""

from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from common.errors import InputError
from common.files import make_folder, replacing
from training.learner import Epoch


class Logs:
    """Logs of one fold in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._note = ""
        self._events = None  # made when first needed: to make it is to write

    def note(self, flags: str) -> None:
        """Let TensorBoard show these flags (YAML) with what follows."""
        self._note = flags

    def write(self, history: pd.DataFrame, examples: np.ndarray, epoch: Epoch) -> None:
        """Rewrite history.csv and add the last epoch to TensorBoard: scalars, examples, loss and time of each step.

        `history`: a row an epoch; `examples`: uint8 (H, W).
        """
        with replacing(self.folder / "history.csv") as temporary:
            history.to_csv(temporary, index=False)
        try:
            self._write_events(history.iloc[-1].to_dict(), examples, epoch)
        except tf.errors.OpError as error:  # of a full disk, TensorFlow's ResourceExhaustedError
            reason = error.message.splitlines()[0].rsplit("; ", 1)[-1]
            raise InputError(f"cannot write {self.folder}/events.out.*: {reason}; the epoch will be repeated") from None

    def _write_events(self, last: dict[str, float], examples: np.ndarray, epoch: Epoch) -> None:
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
