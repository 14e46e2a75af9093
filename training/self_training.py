"""Self-training: tiles without labels are labelled by an earlier round's weights, and pretrained on.

As the competition's first place did it (Babakhin et al., 2019, arXiv:1904.04445): pretraining on the labels that are
sure, fine-tuning on the labelled tiles, in rounds. Fold by fold: a fold's labels come from its own weights alone, which
have never seen its validation tiles, nor has any teacher of theirs. So its validation score stays honest.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.digests import digest
from common.errors import InputError, SharedError
from common.progress import bar
from common.ring.base import Ring
from data.folds.fold import Fold
from data.rle import TILE
from data.submission import tiles_to_predict
from data.tiles import TileSet, read_all, read_image
from models.geometry import Geometry
from models.predictor import Predictor
from models.weights import ENDING, load_model, load_recipe
from training.batches import TrainingBatches
from training.state import Progress

# A pixel is decided below the first probability and above the second; between them the network has no opinion that is
# worth learning from.
UNDECIDED = (0.2, 0.8)
BATCH = 64  # tiles a step of prediction: not --batch_size, with which rounding would change
PART = 1024  # tiles whose probabilities, 42 MB, are held at once


def pretrain_epochs(epochs: int, teacher: str | None, asked: int | None) -> int:
    """Of `epochs` epochs, how many pretrain: those `asked` for, else half; 0 without a teacher.

    Raises:
        InputError: asked for without a teacher, or none would be left for the labelled tiles.
    """
    if teacher is None:
        if asked:
            raise InputError(
                f"--pretrain_epochs={asked} needs tiles that a --teacher labels; name one, or leave it out"
            )
        return 0
    if epochs < 2 or (asked or 1) >= epochs:
        raise InputError(
            f"--epochs={epochs} are too few for --pretrain_epochs={asked or 1} and an epoch on the labelled tiles; "
            "give more of the first, or fewer of the second"
        )
    return asked or epochs // 2


def confidence(probabilities: np.ndarray) -> np.ndarray:
    """Share of decided pixels, float64 (N,) in 0..1, of probabilities (N, 101, 101); what is no number is undecided."""
    low, high = UNDECIDED
    return ((probabilities < low) | (probabilities > high)).mean(axis=(1, 2))


class Teachers:
    """The weights of an earlier round, by fold, and the tiles that they label. All ranks of a ring call alike.

    `epochs`: how many pretrain on those; 0 where there is no teacher, and then all of this does nothing.
    """

    def __init__(
        self,
        *,
        folder: str | None,
        unlabelled_path: str,
        epochs: int,
        confidence: float,
        ring: Ring,
        xla: bool | None = None,
    ):
        """Nothing is read yet.

        Args:
            folder: where the weights are, weights/resnet34 for instance.
            unlabelled_path: as data.submission.tiles_to_predict takes it.
            confidence: 0..1; tiles of less are left out.
            xla: compile with XLA; None does not, since each fold's weights would wait longer for it than they save.
        """
        self._folder, self._unlabelled_path = folder and Path(folder), unlabelled_path
        self.epochs, self._least, self._ring, self._xla = epochs, confidence, ring, bool(xla)

    def of(self, fold: Fold, output: Path) -> dict:
        """What is to be known of a fold's own weights, for its recipe: folder, round and the files' SHA-256.

        `files` are those of all its cycles, or that of its last epoch: the best epoch was chosen by validation tiles.
        `output`: the folder that this round writes to.

        Raises:
            InputError: none, of another split or fold, not all cycles of one training, or where this round writes.
        """
        if not self._folder:
            return {}
        note = self._ring.on_all(lambda: self._find(fold, output))
        self._ring.check_same({"teacher": note["files"]})
        return note

    def _find(self, fold: Fold, output: Path) -> dict:
        folder = self._folder
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
        recipes = [load_recipe(file) for file in files]
        for file, recipe in zip(files, recipes, strict=True):
            if (recipe["fold"], recipe["fingerprint"]) != (fold.name, fold.fingerprint):
                raise InputError(
                    f"{file} is of {recipe['fold']} of split {recipe['fingerprint']}, not {fold.name} of "
                    f"{fold.fingerprint}, and may have seen its validation tiles; train a teacher on this split"
                )
            if "_cycle" in file.name and recipe.get("cycles") != len(files):
                raise InputError(
                    f"{folder} has {len(files)} cycles of {fold.name}, {file.name} is of a training of "
                    f"{recipe.get('cycles')}; train it to its end, or again with --resume=False"
                )
        before = recipes[0].get("teacher")
        earlier = before.get("round") if isinstance(before, dict) else 0
        return {
            "folder": str(folder),
            "round": 1 + (earlier if isinstance(earlier, int) else 0),
            "files": {file.name: recipe["sha256"] for file, recipe in zip(files, recipes, strict=True)},
        }

    def pretraining(
        self, fold: Fold, batches: TrainingBatches, progress: Progress
    ) -> tuple["TrainingBatches | Pretraining", dict]:
        """What a training at `progress` trains on: `batches`, before them those of pretraining; and its fuller note."""
        if progress.epoch >= self.epochs:
            return batches, progress.teacher
        tiles, note = self.label(fold, progress.teacher)
        return Pretraining(batches.of_others(tiles), batches, self.epochs), note

    @staticmethod
    def told(note: dict) -> str:
        """What a fold's first line says of the tiles to pretrain on."""
        if not note:
            return ""
        salt = note["with_salt"] / note["kept"]
        return f"{note['kept']} of {note['of']} unlabelled to pretrain, {salt:.1%} of them with salt; "

    def label(self, fold: Fold, note: dict) -> tuple[TileSet, dict]:
        """Label the unlabelled tiles by the weights in `note`; returns those of enough confidence, and a fuller note.

        Salt is where the mean probability over weights and mirror images is above 0.5. Every rank gets the same: each
        predicts its part, and they are put together.

        Raises:
            InputError: no tiles, labelled ones among them, other ones than in `note`, or none of enough confidence.
        """
        ids, images, content = self._unlabelled
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
        files = [self._folder / name for name in note["files"]]
        loaded = self._ring.on_all(lambda: [load_model(file) for file in files])
        models = [(model, Geometry(recipe["target_size"])) for model, recipe in loaded]
        predictor = Predictor(models, batch_size=BATCH, tta=True, xla=self._xla)
        with bar(f"{fold.name}, pseudo-labels", len(ids)) as shown:
            packed, sure = self._predict(predictor, images, lambda count: shown.update(count * self._ring.size))
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
        tiles = TileSet([ids[k] for k in kept], images[kept], masks)
        salt = int(masks.any(axis=(1, 2)).sum())
        known = {"unlabelled": content, "labels": labels, "of": len(ids), "kept": len(kept), "with_salt": salt}
        return tiles, note | known

    @cached_property
    def _unlabelled(self) -> tuple[list[str], np.ndarray, str]:
        """Ids, images uint8 (N, 101, 101) and a digest of both; read once for all folds."""

        def find() -> dict[str, Path]:
            return tiles_to_predict(self._unlabelled_path, flag="unlabelled_path")

        def read() -> tuple[list[str], np.ndarray]:
            paths = find()
            with bar("read unlabelled tiles", len(paths), "file") as shown:
                return list(paths), read_all(read_image, list(paths.values()), shown)

        self._ring.on_chief(lambda: len(find()))  # what is packed is unpacked, by one of them
        ids, images = self._ring.on_all(read)
        content = digest(" ".join(ids), images)[:16]
        self._ring.check_same({"content of unlabelled tiles": content})
        return ids, images, content

    def _predict(self, predictor: Predictor, images: np.ndarray, on_batch) -> tuple[np.ndarray, np.ndarray]:
        """Labels as packed bits uint8 (N, 1276), and confidence (N,), of tiles (N, 101, 101)."""
        ring, found = self._ring, []
        for start in range(0, len(images), PART):
            part = images[start : start + PART]
            mine = slice(ring.rank, None, ring.size)
            probabilities = predictor(part[mine], on_batch)
            bits = np.packbits((probabilities > 0.5).reshape(-1, TILE * TILE), axis=1)
            rows = np.zeros((len(part), 1 + bits.shape[1]))
            rows[mine] = np.column_stack([confidence(probabilities), bits])
            # Rows of others are 0, so the sum puts the parts together; whole, since float64 holds a byte exactly.
            rows = ring.sum(rows, "pseudo_labels")
            found.append((rows[:, 1:].astype(np.uint8), rows[:, 0]))
        packed, sure = zip(*found, strict=True)
        return np.concatenate(packed), np.concatenate(sure)


class Pretraining:
    """Batches of pseudo-labelled tiles in the first `epochs` epochs, of labelled ones in those that follow."""

    def __init__(self, pseudo_labelled: TrainingBatches, labelled: TrainingBatches, epochs: int):
        """Both have the same number of steps."""
        self._first, self._then, self._epochs = pseudo_labelled, labelled, epochs

    def __len__(self) -> int:
        """Steps an epoch."""
        return len(self._then)

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """As that of TrainingBatches."""
        return (self._first if epoch < self._epochs else self._then).epoch(epoch)
