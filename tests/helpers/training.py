"""Small trainings: their flags, and what their weights hold."""

import h5py
import numpy as np

from models.weights import Recipe

TINY = ("--model=tiny", "--target_size=32", "--batch_size=8")


def arrays(path) -> dict[str, np.ndarray]:
    """Every array of a weights file by its name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def same(a, b) -> bool:
    """Whether two weights files hold the same bits."""
    a, b = arrays(a), arrays(b)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


RECIPE = Recipe(
    model="tiny", target_size=32, fold="fold_0", folds=3, fingerprint="f" * 16, epoch=1, score=0.5, threshold=0.5
)
