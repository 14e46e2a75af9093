"""Self-training: tiles without labels are labelled by an earlier round's weights, and pretrained on.

As the competition's first place did it (Babakhin et al., 2019, arXiv:1904.04445): pretraining on the labels that are
sure, fine-tuning on the labelled tiles, in rounds. Fold by fold: a fold's labels come from its own weights alone, which
have never seen its validation tiles, nor has any teacher of theirs. So its validation score stays honest.
"""

from functools import cached_property
from pathlib import Path

import numpy as np

from common.digests import digest
from common.errors import InputError, SharedError
from common.progress import bar
from common.ring.base import Ring
from data.folds.fold import Fold
from data.tiles import TILE, TileSet
from models.weights import ENDING, Recipe, load_model, peek_recipe
from training.batches import Pretraining, TrainingBatches
from training.pseudo_labels import load_predictor, predict_labels, read_unlabelled
from training.state import Progress


def find_teacher(folder: Path, fold: Fold, output: Path) -> dict:
    """Describe a fold's own weights in `folder` for its recipe: folder, round and the files' SHA-256.

    `files` are those of all its cycles, or that of its last epoch: the best epoch was chosen by validation tiles.
    `output`: the folder that this round writes to.

    Raises:
        InputError: none, of another split or fold, not all cycles of one training, or where this round writes.
    """
    if folder.resolve() == output.resolve():
        raise InputError(f"--teacher={folder} is where this round writes; name another --weights_path")
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; give --teacher the weights of an earlier round, as weights/resnet34")
    files = sorted(folder.glob(f"{fold.name}_cycle*{ENDING}")) or [folder / f"{fold.name}_last{ENDING}"]
    if not files[0].is_file():
        raise InputError(
            f"{folder} has no weights of {fold.name}, and no others may label for it: they have seen its "
            "validation tiles; train it there first"
        )
    recipes = [peek_recipe(file) for file in files]  # load_predictor reads the weights, and checks that they are these
    for file, recipe in zip(files, recipes, strict=True):
        _check_teacher(file, recipe, fold, count=len(files))
    before = (recipes[0].teacher or {}).get("round")
    return {
        "folder": str(folder),
        "round": 1 + (before if isinstance(before, int) else 0),
        "files": {file.name: recipe.sha256 for file, recipe in zip(files, recipes, strict=True)},
    }


def _check_teacher(file: Path, recipe: Recipe, fold: Fold, *, count: int) -> None:
    """Raise InputError unless these weights are of this fold and, where of a cycle, of a training of so many."""
    if (recipe.fold, recipe.fingerprint) != (fold.name, fold.fingerprint):
        raise InputError(
            f"{file} is of {recipe.fold} of split {recipe.fingerprint}, not {fold.name} of "
            f"{fold.fingerprint}, and may have seen its validation tiles; train a teacher on this split"
        )
    if "_cycle" in file.name and recipe.cycles != count:
        raise InputError(
            f"{file.parent} has {count} cycles of {fold.name}, {file.name} is of a training of "
            f"{recipe.cycles}; train it to its end, or again with --resume=False"
        )


def _read_last(file: Path, fold: Fold, model: str) -> list[np.ndarray]:
    net, recipe = load_model(file)
    _check_teacher(file, recipe, fold, count=recipe.cycles)
    if recipe.model != model:
        raise InputError(f"{file} is of {recipe.model}, not {model}, and cannot be its --warm_start; leave that out")
    return net.get_weights()


def make_teachers(
    folder: str | None, unlabelled_path: str, ring: Ring, *, epochs: int, confidence: float, xla: bool | None = None
) -> "Teachers | NoTeachers":
    """Make what labels tiles to pretrain on for `epochs` epochs, 0 for nothing; nothing is read yet.

    Args:
        folder: where the weights are, weights/resnet34 for instance.
        confidence: 0..1; tiles of less are left out.
        xla: compile with XLA; None does not, since each fold's weights would wait longer for it than they save.
    """
    if not epochs or folder is None:
        return NoTeachers()
    return Teachers(Path(folder), unlabelled_path, ring, epochs=epochs, confidence=confidence, xla=bool(xla))


class NoTeachers:
    """No teachers: a training on labelled tiles alone."""

    epochs = 0

    def of(self, fold: Fold, output: Path) -> dict:
        """Describe no teacher."""
        return {}

    def pretraining(self, fold: Fold, batches: TrainingBatches, progress: Progress) -> tuple[TrainingBatches, dict]:
        """Give `batches` as they are."""
        return batches, progress.teacher


class Teachers:
    """The weights of an earlier round, by fold, and the tiles that they label. All ranks of a ring call alike."""

    def __init__(self, folder: Path, unlabelled_path: str, ring: Ring, *, epochs: int, confidence: float, xla: bool):
        """Take what make_teachers says."""
        self._folder, self._unlabelled_path, self._ring, self._xla = folder, unlabelled_path, ring, xla
        self.epochs, self._least = epochs, confidence

    def of(self, fold: Fold, output: Path) -> dict:
        """Describe a fold's teacher, as find_teacher does; all ranks must have the same."""
        note = self._ring.on_all(find_teacher, self._folder, fold, output)
        self._ring.check_same({"teacher": note["files"]})
        return note

    def weights(self, fold: Fold, model: str) -> list[np.ndarray]:
        """Read what a fold's teacher ended with, as Keras lists weights; InputError unless it is a network `model`."""
        return self._ring.on_all(_read_last, self._folder / f"{fold.name}_last{ENDING}", fold, model)

    def pretraining(
        self, fold: Fold, batches: TrainingBatches, progress: Progress
    ) -> tuple[TrainingBatches | Pretraining, dict]:
        """Give what a training at `progress` trains on: `batches`, after those of pretraining; and its fuller note."""
        if progress.epoch >= self.epochs:
            return batches, progress.teacher
        tiles, note = self.label(fold, progress.teacher)
        return Pretraining(batches.of_others(tiles), batches, self.epochs), note

    def label(self, fold: Fold, note: dict) -> tuple[TileSet, dict]:
        """Label the unlabelled tiles by the weights in `note`; returns those of enough confidence, and a fuller note.

        Raises:
            InputError: no tiles, labelled ones among them, other ones than in `note`, or none of enough confidence.
        """
        ids, images, content = self._unlabelled
        self._check(fold, note, ids, content)
        predictor = load_predictor([self._folder / name for name in note["files"]], self._ring, xla=self._xla)
        with bar(f"{fold.name}, pseudo-labels", len(ids)) as shown:
            packed, sure = predict_labels(
                predictor, images, self._ring, lambda count: shown.update(count * self._ring.size)
            )
        kept = np.flatnonzero(sure >= self._least)
        if not len(kept):
            raise SharedError(
                f"none of {len(ids)} tiles in {self._unlabelled_path} has --confidence={self._least}, the best has "
                f"{sure.max():.4f}; lower it, or train the teacher longer"
            )
        packed = packed[kept]
        labels = digest(" ".join(ids[k] for k in kept), packed)[:16]
        self._ring.check_same({"pseudo-labels": labels})
        masks = np.unpackbits(packed, axis=1, count=TILE * TILE).reshape(-1, TILE, TILE)
        salt = int(masks.any(axis=(1, 2)).sum())
        known = {"unlabelled": content, "labels": labels, "of": len(ids), "kept": len(kept), "with_salt": salt}
        return TileSet([ids[k] for k in kept], images[kept], masks), note | known

    def _check(self, fold: Fold, note: dict, ids: list[str], content: str) -> None:
        """Raise InputError for other tiles than a training was begun with, and for labelled ones."""
        if note.get("unlabelled", content) != content:
            raise SharedError(
                f"{self._unlabelled_path} holds other tiles than when {fold.name} was begun; "
                "restore them, or start anew with --resume=False"
            )
        if among := sorted({*fold.train.ids, *fold.val.ids}.intersection(ids)):
            raise SharedError(
                f"{self._unlabelled_path} holds '{among[0]}' ({len(among)} such), which is a labelled tile; "
                "name a folder of others with --unlabelled_path"
            )

    @cached_property
    def _unlabelled(self) -> tuple[list[str], np.ndarray, str]:
        return read_unlabelled(self._unlabelled_path, self._ring)  # once for all folds


def describe_pretraining(note: dict) -> str:
    """Say what a fold pretrains on, for its first line; nothing where that is nothing."""
    if not note:
        return ""
    salt = note["with_salt"] / note["kept"]
    return f"{note['kept']} of {note['of']} unlabelled to pretrain, {salt:.1%} of them with salt; "
