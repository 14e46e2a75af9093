"""Self-training through the commands: rounds on rounds, the same in a ring and after a kill."""

import json
from pathlib import Path

import numpy as np
import pytest

import tgs_predict
import tgs_train
from data.folds.fold import read_fold
from data.tiles import list_pngs, read_images
from models.weights import load_model, load_recipe
from tests.helpers.commands import error_line, run_here, run_script
from tests.helpers.jobs import state
from tests.helpers.rings import PROGRAM, horovod, ring
from tests.helpers.training import TINY
from training.learner import Learner

TEACHER = ("--teacher=round0/tiny", "--unlabelled_path=tgs", "--confidence=0")
FOLD = "--data_path=folds/fold_0"


def train(cwd: Path, *flags: str) -> str:
    done = run_here(tgs_train.main, *TINY, *flags, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--pretrain_epochs=4", "--epochs=4", *TEACHER), "--epochs=4 are too few for --pretrain_epochs=4"),
        (("--pretrain_epochs=2", "--epochs=4"), "--pretrain_epochs=2 needs tiles that a --teacher labels"),
        (
            ("--cycles=3", "--epochs=4", *TEACHER),
            "--cycles=3 need an epoch each, --epochs=4 are too few after the first 2",
        ),
        (("--epochs=4", "--teacher=nowhere"), "no folder nowhere"),
        (("--epochs=4", "--warm_start"), "--warm_start begins with a --teacher's weights; name one"),
    ],
)
def test_wrong_flags_are_one_line_and_nothing_is_written(workspace, flags, said):
    done = run_here(tgs_train.main, *TINY, FOLD, *flags, cwd=workspace)
    assert said in error_line(done)
    assert not (workspace / "weights").exists()
    assert not (workspace / "logs").exists()


@pytest.mark.slow
def test_pretraining_then_fine_tuning_and_the_next_round(taught, monkeypatch):
    """What each epoch was shown, the rate at the border, which cycles are kept, and a second round on the first."""
    shown = []
    original = Learner.train_epoch

    def train_epoch(self, batches, epoch, *args):
        batches = list(batches)
        shown.append([image.tobytes() for images, _ in batches for image in images.numpy()])
        assert self.schedule.step(epoch) == len(batches) * epoch
        return original(self, batches, epoch, *args)

    monkeypatch.setattr(Learner, "train_epoch", train_epoch)
    flags = ("--epochs=4", "--cycles=2", "--warmup_epochs=1", "--learning_rate=0.002")
    said = train(taught, FOLD, *TEACHER, *flags)
    assert "12 of 12 unlabelled to pretrain, " in said
    assert said.count("(pseudo-labels)") == 2

    fold = read_fold(taught / "folds/fold_0")
    kinds = {"train": fold.train.images, "val": fold.val.images}
    kinds["pseudo"] = read_images(list_pngs(taught / "tgs/test/images").values())
    sets = {kind: {image.tobytes() for image in images} for kind, images in kinds.items()}
    assert not sets["pseudo"] & (sets["train"] | sets["val"])
    assert [len(epoch) for epoch in shown] == [40] * 4
    assert all(set(epoch) == sets["pseudo"] for epoch in shown[:2])
    assert all(set(epoch) <= sets["train"] for epoch in shown[2:])

    weights = taught / "weights/tiny"
    recipes = {file.name: load_recipe(file) for file in weights.glob("*.h5")}
    assert {name for name in recipes if "cycle" in name} == {f"fold_0_cycle{k}.weights.h5" for k in (1, 2)}
    assert [recipes[f"fold_0_cycle{k}.weights.h5"].epoch for k in (1, 2)] == [3, 4]
    assert [recipes[f"fold_0_cycle{k}.weights.h5"].cycles for k in (1, 2)] == [2, 2]
    last = recipes["fold_0_last.weights.h5"]
    teacher = {"fold_0_last.weights.h5": load_recipe(taught / "round0/tiny/fold_0_last.weights.h5").sha256}
    assert (last.teacher["round"], last.teacher["kept"], last.teacher["files"]) == (1, 12, teacher)
    # Warm-up to the peak over one epoch; a cosine over one, at whose end the next cycle is at the peak; so are all.
    rates = [row["learning_rate"] for row in state(weights)[0]["history"]]
    assert rates == pytest.approx([0.002, 0.002, 0.002, 0.0], abs=1e-9)

    second = ("--teacher=weights/tiny", *TEACHER[1:], "--weights_path=round2", "--epochs=2")
    train(taught, FOLD, *second)
    recipe = load_recipe(taught / "round2/tiny/fold_0_last.weights.h5")
    assert recipe.teacher["round"] == 2
    assert list(recipe.teacher["files"]) == ["fold_0_cycle1.weights.h5", "fold_0_cycle2.weights.h5"]
    assert "finished before" in train(taught, FOLD, *second)


@pytest.mark.slow
def test_a_warm_start_goes_on_from_the_teacher(taught):
    """At next to no rate its weights stay the teacher's, fold by fold, though one learner trains them in turn."""
    still = ("--epochs=2", "--learning_rate=1e-9", "--weight_decay=0", "--encoder_weights=imagenet")
    said = train(taught, "--data_path=folds", *TEACHER, "--warm_start", *still)
    assert said.count("12 of 12 unlabelled to pretrain") == 3
    for fold in ("fold_0", "fold_1", "fold_2"):
        file = f"tiny/{fold}_last.weights.h5"
        (theirs, _), (ours, recipe) = load_model(taught / "round0" / file), load_model(taught / "weights" / file)
        for a, b in zip(theirs.trainable_variables, ours.trainable_variables, strict=True):
            assert np.allclose(a.numpy(), b.numpy(), rtol=0, atol=1e-6), a.path
        assert recipe.pretrained is None


@pytest.mark.slow
def test_a_round_of_every_fold_then_its_out_of_fold_score(taught):
    flags = (*TINY, "--data_path=folds", *TEACHER, "--epochs=2")
    done = run_script("tgs_train.py", *flags, cwd=taught, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("12 of 12 unlabelled to pretrain") == 3
    done = run_here(tgs_predict.main, "--oof=True", "--model=tiny", cwd=taught)
    assert done.returncode == 0, done.stderr
    summary = json.loads((taught / "weights/tiny/oof_best.json").read_text())
    assert summary["tiles"] == 60


@pytest.mark.slow
def test_killed_while_it_pretrains_it_ends_with_the_same_bits(taught):
    from tests.helpers.jobs import assert_same_end, check_files, job, project

    whole = project(taught / "whole", taught)
    for name in ("tgs", "round0"):
        (whole / name).symlink_to(taught / name)
    flags = (*TEACHER, "--epochs=4")
    train(whole, FOLD, "--warmup_epochs=1", *flags)
    with job(taught, *flags, dies=("SIGKILL", "half", "state.npz", 2)) as running:
        assert running.end()[0] == -9
    assert check_files(taught) == 1
    train(taught, FOLD, "--warmup_epochs=1", *flags)
    assert_same_end(whole, taught)
    labels = [load_recipe(path / "weights/tiny/fold_0_last.weights.h5").teacher for path in (whole, taught)]
    assert labels[0] == labels[1]


@pytest.mark.slow
@horovod
def test_two_ranks_label_as_one_process_does(taught):
    flags = ("--model=tiny", "--target_size=32", FOLD, *TEACHER, "--epochs=2")
    train(taught, FOLD, *TEACHER, "--epochs=2")
    done = ring(2, *PROGRAM, "--hvd=True", *flags, "--batch_size=4", "--weights_path=two", cwd=taught)
    assert done.returncode == 0, done.stderr
    held = {line.split("variables=")[1] for line in done.stdout.splitlines() if line.startswith("HELD")}
    assert len(held) == 1
    one, two = (load_recipe(taught / f"{name}/tiny/fold_0_last.weights.h5").teacher for name in ("weights", "two"))
    assert one == two
