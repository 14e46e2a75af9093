"""Labels for tiles that have none, by weights of an earlier round."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.digests import digest
from common.progress import bar
from common.ring.base import Ring
from data.submission import count_tiles, tiles_to_predict
from data.tiles import TILE, read_all, read_image
from models.predictor import Predictor
from models.weights import load_model

# A pixel is decided below the first probability and above the second; between them the network has no opinion that is
# worth learning from.
UNDECIDED = (0.2, 0.8)
BATCH = 64  # tiles a step of prediction: not --batch_size, with which rounding would change
CHUNK = 1024  # tiles whose probabilities, 42 MB, are held at once


def confidence(probabilities: np.ndarray) -> np.ndarray:
    """Share of decided pixels, float64 (N,) in 0..1, of probabilities (N, 101, 101); what is no number is undecided."""
    low, high = UNDECIDED
    return ((probabilities < low) | (probabilities > high)).mean(axis=(1, 2))


def read_unlabelled(path: str, ring: Ring) -> tuple[list[str], np.ndarray, str]:
    """Read ids, images uint8 (N, 101, 101) and a digest of both; InputError unless they are the same on all ranks.

    `path`: as data.submission.tiles_to_predict takes it.
    """

    def read() -> tuple[list[str], np.ndarray]:
        paths = tiles_to_predict(path, flag="unlabelled_path")
        with bar("read unlabelled tiles", len(paths), "file") as shown:
            return list(paths), read_all(read_image, list(paths.values()), shown)

    ring.on_chief(count_tiles, path, flag="unlabelled_path")  # which may unpack them
    ids, images = ring.on_all(read)
    content = digest(" ".join(ids), images)[:16]
    ring.check_same({"content of unlabelled tiles": content})
    return ids, images, content


def load_predictor(files: list[Path], ring: Ring, *, xla: bool) -> Predictor:
    """Load the mean over weights and mirror images."""
    loaded = ring.on_all(lambda: [load_model(file) for file in files])
    models = [(model, recipe.geometry) for model, recipe in loaded]
    return Predictor(models, batch_size=BATCH, tta=True, xla=xla)


def predict_labels(
    predictor: Predictor, images: np.ndarray, ring: Ring, progress: Callable[[int], object]
) -> tuple[np.ndarray, np.ndarray]:
    """Label tiles (N, 101, 101): salt where the probability is above 0.5.

    Every rank predicts its share and gets the labels of all, packed bits uint8 (N, 1276), and their confidence (N,).
    """
    found = []
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        mine = slice(ring.rank, None, ring.size)
        probabilities = predictor(chunk[mine], progress)
        bits = np.packbits((probabilities > 0.5).reshape(-1, TILE * TILE), axis=1)
        rows = np.zeros((len(chunk), 1 + bits.shape[1]))
        rows[mine] = np.column_stack([confidence(probabilities), bits])
        # Rows of others are 0, so the sum puts the shares together; whole, since float64 holds a byte exactly.
        rows = ring.sum(rows, "pseudo_labels")
        found.append((rows[:, 1:].astype(np.uint8), rows[:, 0]))
    packed, sure = zip(*found, strict=True)
    return np.concatenate(packed), np.concatenate(sure)
