"""What a training leaves to look at: history.csv, its curves, and TensorBoard events."""

from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from data.figures import draw_history
from data.files import make_folder, replacing


class Logs:
    """Logs of one fold in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._events = None  # made when first needed: to make it is to write

    def write(self, history: list[dict], examples: np.ndarray, **scalars: float) -> None:
        """Rewrite history.csv and history.png, and add the last epoch's scalars and examples to TensorBoard.

        `history`: a row an epoch; `examples`: uint8 (H, W); `scalars`: more numbers for TensorBoard.
        """
        table = pd.DataFrame(history)
        with replacing(self.folder / "history.csv") as temporary:
            table.to_csv(temporary, index=False)
        draw_history(self.folder / "history.png", table)
        self._events = self._events or tf.summary.create_file_writer(str(make_folder(self.folder)))
        with self._events.as_default(step=history[-1]["epoch"]):
            for name, value in {**history[-1], **scalars}.items():
                tf.summary.scalar(name, value)
            tf.summary.image("image, truth, probability", examples[None, :, :, None])
        self._events.flush()
