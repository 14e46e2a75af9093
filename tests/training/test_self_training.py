"""Self-training: sure labels by hand, fold by fold clean, the same in a ring and after a kill, rounds on rounds."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from common.ring.single import SingleProcess
from data.folds.fold import read_fold
from data.tiles import list_pngs, read_images
from models.weights import load_model, peek_recipe
from tests.helpers.batches import numbered, numbers
from tests.helpers.commands import refused
from training import pseudo_labels
from training.batches import TrainingBatches
from training.pseudo_labels import confidence, predict_labels
from training.settings import Settings, count_pretrain_epochs
from training.state import Progress, TrainingState
from training.teachers import NoTeachers, Teachers, make_teachers

TEACHER = ("--teacher=round0/tiny", "--unlabelled_path=tgs", "--confidence=0")
FOLD = "--data_path=folds/fold_0"


def teachers(project: Path, **changes) -> Teachers:
    places = {"folder": str(project / "round0/tiny"), "unlabelled_path": str(project / "tgs")}
    return make_teachers(**{**places, "epochs": 2, "confidence": 0.0, "ring": SingleProcess()} | changes)


# ---- by hand -------------------------------------------------------------------------------------------------


def test_confidence_is_the_share_of_decided_pixels():
    probabilities = np.full((4, 101, 101), 0.5, np.float32)
    probabilities[0] = 0.2  # neither below 0.2 nor above 0.8
    probabilities[1, :50] = 0.19
    probabilities[1, 50:, :1] = 0.81
    probabilities[2] = np.nan
    probabilities[3] = 0.999
    found = confidence(probabilities)
    assert found[[0, 2, 3]].tolist() == [0, 0, 1]
    assert found[1] == pytest.approx((50 * 101 + 51) / 101**2)


def test_half_of_the_epochs_pretrain_unless_asked_otherwise():
    assert [count_pretrain_epochs(n, "weights", None) for n in (2, 3, 90)] == [1, 1, 45]
    assert count_pretrain_epochs(90, "weights", 89) == 89
    assert count_pretrain_epochs(90, None, None) == 0
    refused(lambda: count_pretrain_epochs(9, "weights", 9), "--epochs=9 are too few for --pretrain_epochs=9")
    refused(lambda: count_pretrain_epochs(1, "weights", None), "--epochs=1 are too few for --pretrain_epochs=1")
    assert isinstance(make_teachers(None, "tgs", SingleProcess(), epochs=0, confidence=0.5), NoTeachers)
    refused(lambda: count_pretrain_epochs(9, None, 3), "--pretrain_epochs=3 needs tiles that a --teacher labels")


@pytest.mark.parametrize("count", [3, 10, 25, 64])
def test_batches_of_others_see_every_tile_before_any_again(count):
    batches = TrainingBatches(numbered(26), batch_size=4, seed=1).of_others(numbered(count))
    epochs = [numbers(batches, epoch) for epoch in range(6)]
    assert {len(epoch) for epoch in epochs} == {len(batches)} == {6}
    seen = [tile for epoch in epochs for batch in epoch for tile in batch]
    for start in range(0, len(seen) - count + 1, count):
        assert sorted(seen[start : start + count]) == list(range(count))
    halves = [
        TrainingBatches(numbered(26), batch_size=2, seed=1, rank=rank, size=2).of_others(numbered(count))
        for rank in (0, 1)
    ]
    assert [a + b for a, b in zip(*(numbers(half, 3) for half in halves), strict=True)] == epochs[3]


def test_labels_and_confidence_by_hand_alone_and_in_parts(monkeypatch):
    """Three ranks predict their parts, of several portions; what they sum up to is what one finds alone."""
    monkeypatch.setattr(pseudo_labels, "CHUNK", 4)
    images = np.arange(10, dtype=np.uint8)[:, None, None].repeat(101, 1).repeat(101, 2)
    images[:, 0, 0] = 255

    def predictor(tiles, progress):
        progress(len(tiles))
        return tiles.astype(np.float32) / 10

    counted = []
    packed, sure = predict_labels(predictor, images, SingleProcess(), counted.append)
    assert sum(counted) == 10
    masks = np.unpackbits(packed, axis=1, count=101 * 101).reshape(-1, 101, 101)
    by_hand = images > 5
    assert np.array_equal(masks, by_hand)
    assert sure == pytest.approx([1, 1, *[1 / 10201] * 6, 1 / 10201, 1])  # 0.8 is undecided

    class Part(SingleProcess):
        size = 3

        def sum(self, values, name):
            sums.append(values)
            return values

    everyones = []
    for rank in range(3):
        sums, part = [], Part()
        part.rank = rank
        predict_labels(predictor, images, part, lambda count: None)
        everyones.append(np.concatenate(sums))
    total = np.sum(everyones, axis=0)
    assert np.array_equal(total[:, 0], sure)
    assert np.array_equal(total[:, 1:], packed)


def test_labels_are_the_mean_over_cycles_and_mirror_images(taught):
    fold, folder = read_fold(taught / "folds/fold_0"), taught / "round0/tiny"
    for cycle, source in ((1, "best"), (2, "last")):
        shutil.copy(folder / f"fold_0_{source}.weights.h5", folder / f"fold_0_cycle{cycle}.weights.h5")
        recipe = json.loads((folder / f"fold_0_{source}.json").read_text()) | {"cycle": cycle, "cycles": 2}
        (folder / f"fold_0_cycle{cycle}.json").write_text(json.dumps(recipe))
    found = teachers(taught)
    note = found.of(fold, taught / "weights/tiny")
    assert list(note["files"]) == ["fold_0_cycle1.weights.h5", "fold_0_cycle2.weights.h5"]
    tiles, note = found.label(fold, note)

    from models.geometry import Geometry
    from models.predictor import Predictor

    paths = list_pngs(taught / "tgs/test/images")
    assert tiles.ids == list(paths)
    assert np.array_equal(tiles.images, read_images(paths.values()))
    views = []
    for name in note["files"]:
        predict = Predictor([(load_model(folder / name)[0], Geometry(32))])
        views += [predict(tiles.images), predict(tiles.images[:, :, ::-1])[:, :, ::-1]]
    mean = np.mean(views, axis=0)
    clear = np.abs(mean - 0.5) > 1e-5
    assert clear.mean() > 0.99
    assert np.array_equal(tiles.masks[clear], mean[clear] > 0.5)
    assert (note["of"], note["kept"], note["with_salt"]) == (12, 12, int(tiles.masks.any(axis=(1, 2)).sum()))

    (folder / "fold_0_cycle1.weights.h5").unlink()
    refused(
        lambda: found.of(fold, taught / "weights"),
        "has 1 cycles of fold_0, fold_0_cycle2.weights.h5 is of a training of 2",
    )


def test_a_warm_start_begins_with_the_last_weights_of_the_fold(taught):
    fold, folder = read_fold(taught / "folds/fold_1"), taught / "round0/tiny"
    found = teachers(taught).weights(fold, "tiny")
    theirs = load_model(folder / "fold_1_last.weights.h5")[0].get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(found, theirs, strict=True))
    said = refused(
        lambda: teachers(taught).weights(fold, "tiny+scse"), "fold_1_last.weights.h5 is of tiny, not tiny+scse"
    )
    assert "--warm_start" in said
    for ending in (".json", ".weights.h5"):  # another fold's, under this one's name
        shutil.copy(folder / f"fold_0_last{ending}", folder / f"fold_1_last{ending}")
    refused(lambda: teachers(taught).weights(fold, "tiny"), "fold_1_last.weights.h5 is of fold_0 of split ")


# ---- fold by fold clean --------------------------------------------------------------------------------------


def test_weights_of_another_fold_are_never_opened(taught, monkeypatch):
    for file in (taught / "round0/tiny").glob("fold_[12]*"):
        file.write_bytes(b"poison")
    opened = []
    for where, original in (("pseudo_labels.load_model", load_model), ("teachers.peek_recipe", peek_recipe)):
        monkeypatch.setattr(
            f"training.{where}", lambda path, original=original: opened.append(Path(path).name) or original(path)
        )
    fold, found = read_fold(taught / "folds/fold_0"), teachers(taught)
    found.label(fold, found.of(fold, taught / "weights"))
    assert opened == ["fold_0_last.weights.h5"] * 2


def test_weights_that_may_have_seen_the_validation_tiles_are_refused(taught):
    fold, folder = read_fold(taught / "folds/fold_1"), taught / "round0/tiny"

    def of() -> dict:
        return teachers(taught).of(fold, taught / "weights")

    assert of()["round"] == 1
    recipe, weights = folder / "fold_1_last.json", folder / "fold_1_last.weights.h5"
    own = json.loads(recipe.read_text())
    recipe.write_text(json.dumps(own | {"fingerprint": "0" * 16}))
    refused(of, "fold_1_last.weights.h5 is of fold_1 of split 0000000000000000, not fold_1 of ")
    for ending in (".json", ".weights.h5"):  # another fold's, under this one's name
        shutil.copy(folder / f"fold_0_last{ending}", folder / f"fold_1_last{ending}")
    refused(of, "fold_1_last.weights.h5 is of fold_0 of split ")
    weights.unlink()
    refused(of, "has no weights of fold_1, and no others may label for it")


def test_an_earlier_round_that_cannot_teach_is_refused(taught):
    fold = read_fold(taught / "folds/fold_0")
    refused(lambda: teachers(taught, folder="nowhere").of(fold, taught), "no folder nowhere; give --teacher")
    (taught / "linked").symlink_to("round0")
    own = taught / "linked/tiny"
    refused(lambda: teachers(taught).of(fold, own), "is where this round writes; name another --weights_path")

    def label(**changes) -> None:
        found = teachers(taught, **changes)
        found.label(fold, found.of(fold, taught / "weights") | changes.pop("note", {}))

    labelled = str(taught / "tgs/train/images")
    refused(lambda: label(unlabelled_path=labelled), "(60 such), which is a labelled tile; name a folder of others")
    empty = taught / "empty"
    empty.mkdir()
    refused(lambda: label(unlabelled_path=str(empty)), "name a folder of tiles with --unlabelled_path")
    said = refused(lambda: label(confidence=1.0), "none of 12 tiles in")
    assert "has --confidence=1.0, the best has 0." in said
    found = teachers(taught)
    note = found.of(fold, taught / "weights") | {"unlabelled": "of before"}
    refused(lambda: found.label(fold, note), "holds other tiles than when fold_0 was begun")


def test_a_teacher_that_has_changed_does_not_resume(tmp_path):
    fresh = Progress(settings=Settings(epochs=4), teacher={"files": {"fold_0_last.weights.h5": "a"}, "round": 1})
    state = TrainingState(tmp_path, [])
    state.save(fresh)
    assert state.resume(fresh).teacher == fresh.teacher
    for files in ({"fold_0_last.weights.h5": "b"}, None):
        other = Progress(settings=Settings(epochs=4), teacher={"files": files} if files else {})
        refused(lambda other=other: state.resume(other), "was made with another --teacher, or its weights have changed")
