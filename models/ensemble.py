"""Which weights predict together, what they decide on, and what has been trained so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import tensorflow as tf

from common.device import claim_device
from common.errors import InputError
from common.files import read_json
from common.ring.base import Ring
from models.predictor import Predictor
from models.weights import ENDING, Recipe, load_model, peek_recipe

PICKS = {"best": "best", "last": "last", "cycles": "cycle*"}  # which weights of a fold -> how their names end


def fold_of(file: Path) -> str:
    """Tell the fold that a weights file is of, by its name: fold_0_cycle3.weights.h5 -> fold_0."""
    return file.name.rpartition("_")[0]


def fold_files(weights_path: str | Path, model: str, pick: str, *, allow_missing: bool = False) -> list[Path]:
    """List the weights files of a model's folds, `pick` (one of PICKS) of each, in order of fold and cycle.

    Raises:
        InputError: none at all, of different splits or trainings, of another fold than their name says, or (unless
            `allow_missing`) not of every fold, and of every cycle.
    """
    if Path(model).name != model:
        raise InputError(f"--model={model} is a path; name a model, and with --weights_path its folder")
    folder = Path(weights_path) / model
    files = find_weights(folder, pick)
    if not files:
        made = ", which a training with --cycles leaves" if pick == "cycles" else ""
        raise InputError(f"no fold_*_{PICKS[pick]}{ENDING} in {folder}{made}; train first, or name another --model")
    recipes = [peek_recipe(file) for file in files]
    for file, recipe in zip(files, recipes, strict=True):
        if not file.name.startswith(f"{recipe.fold}_"):
            raise InputError(f"{file} holds weights of {recipe.fold}; give it that name, or train this fold")
        if recipe.fingerprint != recipes[0].fingerprint:
            raise InputError(f"{file} and {files[0].name} were trained on different splits; train them again on one")
    missing = {f"fold_{k}" for k in range(recipes[0].folds)} - {recipe.fold for recipe in recipes}
    if missing and not allow_missing:
        raise InputError(f"{folder} lacks weights of {', '.join(sorted(missing))}; train them, or add --allow_missing")
    if pick == "cycles":
        for fold, of_fold in groupby(zip(files, recipes, strict=True), lambda pair: fold_of(pair[0])):
            _check_cycles(folder, fold, [recipe for _, recipe in of_fold], allow_missing)
    return files


def find_weights(folder: Path, pick: str) -> list[Path]:
    """Find the weights files of a pick, one of PICKS, by their names; numbers in order, so that 2 stands before 10."""
    return sorted(folder.glob(f"fold_*_{PICKS[pick]}{ENDING}"), key=lambda f: [(len(p), p) for p in f.name.split("_")])


def _check_cycles(folder: Path, fold: str, recipes: list[Recipe], allow_missing: bool) -> None:
    """Raise InputError unless these are all the cycles of one training of a fold."""
    count = recipes[0].cycles
    if any(recipe.cycles != count for recipe in recipes):
        raise InputError(f"{folder} has cycles of different trainings of {fold}; train it again with --resume=False")
    if len(recipes) != count and not allow_missing:
        raise InputError(
            f"{folder} has {len(recipes)} of the {count} cycles of {fold}; train it to its end, or add --allow_missing"
        )


def list_trained(weights_path: str | Path) -> str:
    """Write a line for each model with weights under `weights_path`: how many folds, and their scores."""
    lines = []
    for folder in sorted(path for path in Path(weights_path).glob("*") if path.is_dir()):
        for pick in PICKS:
            files = find_weights(folder, pick)
            recipes = [peek_recipe(file) for file in files]
            if recipes:
                mean = sum(recipe.score for recipe in recipes) / len(recipes)
                folds = f"{len({*map(fold_of, files)})} of {recipes[0].folds} folds"
                folds += f", {len(files)} weights" if pick == "cycles" else ""
                lines.append(f"  {folder.name:17} {pick}: {folds}, score {mean:.4f} on their validation tiles")
    if not lines:
        raise InputError(f"no weights under {weights_path}; train first: python tgs_train.py")
    return "\n".join(lines)


@dataclass(frozen=True)
class Ensemble:
    """Models that predict together, and what makes a mask of their mean probability.

    `name`: which weights, for files' names; `recipes`: of each model, in order of `predictor`'s.
    """

    name: str
    predictor: Predictor
    recipes: list[Recipe]
    threshold: float
    min_area: int

    @property
    def note(self) -> dict:
        """What a user of an exported network wants to know, for JSON."""
        keys = ("model", "fold", "folds", "fingerprint", "epoch", "score", "versions")
        return {
            "threshold": self.threshold,
            "min_area": self.min_area,
            "tta": self.predictor.tta,
            "models": [{k: v for k, v in recipe.to_json().items() if k in keys} for recipe in self.recipes],
        }

    def __str__(self) -> str:
        return (
            f"by {len(self.recipes)} model(s), threshold {self.threshold}, minimum area {self.min_area}, "
            f"flip TTA {'on' if self.predictor.tta else 'off'}"
        )


def load_ensemble(
    files: Sequence[Path],
    name: str,
    *,
    threshold: float | str = "auto",
    min_area: int | str = "auto",
    pick: str = "best",
    **settings,
) -> Ensemble:
    """Rebuild the models of weights files; `settings` as for make_predictor.

    `threshold` and `min_area` "auto" are those that --oof saved for this `pick`, else 0.5 and 0.
    """
    predictor, recipes = make_predictor(files, **settings)
    saved = files[0].parent / f"oof_{pick}.json"
    found = read_json(saved) if saved.is_file() else {}
    if found.get("fingerprint") != recipes[0].fingerprint:
        found = {}
    for key, most in (("threshold", 1), ("min_area", 10201)) if found else ():
        value = found.get(key)
        if not (isinstance(value, int | float) and 0 <= value <= most):
            raise InputError(f"{saved} has {value!r} as '{key}'; run --oof again")
    return Ensemble(
        name,
        predictor,
        recipes,
        found.get("threshold", recipes[0].threshold) if threshold == "auto" else threshold,
        found.get("min_area", 0) if min_area == "auto" else min_area,
    )


def make_predictor(
    files: Sequence[Path],
    *,
    by_score: bool = False,
    batch_size: int = 64,
    tta: bool = True,
    xla: bool | None = None,
    ring: Ring | None = None,
) -> tuple[Predictor, list[Recipe]]:
    """Make a predictor over the models of weights files; returns it, and their recipes.

    Args:
        by_score: each model counts by its validation score, not alike.
        xla: None compiles with XLA on a GPU only.
        ring: whose ranks compute, and have claimed their devices; None: this process, which does so now.
    """
    if ring is None:
        claim_device()
    loaded = [load_model(file) for file in files]
    recipes = [recipe for _, recipe in loaded]
    if by_score and not any(recipe.score for recipe in recipes):
        raise InputError(f"every weights file in {files[0].parent} scored 0; use --fold_weights=equal")
    return Predictor(
        [(model, recipe.geometry) for model, recipe in loaded],
        shares=[recipe.score for recipe in recipes] if by_score else None,
        batch_size=batch_size,
        tta=tta,
        xla=bool(tf.config.list_physical_devices("GPU")) if xla is None else xla,
    ), recipes
