"""What a user sees while a command works: bars on a terminal, lines elsewhere, no library's words."""

import io
import re
import sys

import pytest

import tgs_predict
import tgs_preprocess
import tgs_train
from common.progress import bar, counted, duration
from data.folds.split import STRATIFICATIONS
from models.losses import LOSSES
from models.parts import PARTS
from models.unet import MODELS
from tests.helpers.commands import run_here, run_script
from training.augment.augmenter import AUGMENTATIONS
from training.augment.distortions import DISTORTIONS
from training.cleaning import RULES

TINY = ("--model=tiny", "--target_size=32", "--batch_size=8", "--data_path=folds/fold_0")


class Terminal(io.StringIO):
    """Stands in for stderr."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (5939, "99 min"), (6000, "1 h 40 min"), (11100, "3 h 05 min")],
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text


def test_bars_are_for_terminals_and_the_first_rank(monkeypatch):
    def shown(stream) -> str:
        monkeypatch.setattr(sys, "stderr", stream)
        with bar("read tiles", 3) as made:
            made.delay = 0
            assert list(counted("abc", made)) == ["a", "b", "c"]
            assert made.disable or made.n == 3
            made.refresh()
        return stream.getvalue()

    assert "read tiles: 100%" in shown(Terminal())
    assert " tiles/s" in shown(Terminal())
    assert shown(io.StringIO()) == ""
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    assert shown(Terminal()) == ""
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    assert "100%" in shown(Terminal())


def test_training_and_prediction_on_a_terminal_and_elsewhere(workspace, monkeypatch):
    """The terminal shows bars with images/s, time left, loss, score and rate; what is piped has a line an epoch."""
    monkeypatch.setattr("tqdm.std.tqdm.__init__", eager())
    screen = Terminal()
    monkeypatch.setattr("contextlib.redirect_stderr", lambda _: Keep(screen))
    done = run_here(tgs_train.main, *TINY, "--epochs=2", cwd=workspace)
    assert done.returncode == 0, screen.getvalue()
    seen = screen.getvalue()
    for title in ("read tiles", "fold_0 epoch 1/2", "fold_0 epoch 2/2", "fold_0 epoch 2/2, validation"):
        assert re.search(rf"{title}: +\d+%\|", seen), title
    assert re.search(r"\d+/40 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ images/s, loss=\d\.\d{4}, score=0\.\d{4}, lr=\d", seen)
    epoch = r"fold_0 epoch \d/2: loss \d\S+, val_loss \d\S+, val_score 0\.\d+( \(best\))?, \d+ images/s, \S+ s"
    patterns = (
        r"fold_0: 40 tiles to train, 20 to validate; tiny, .*; CPU, \d+ cores; ready after \S+ s",
        rf"{epoch}, .* left",
        epoch,
        r"fold_0: best score 0\.\d+ in epoch \d, last 0\.\d+, after \d+ s; wrote weights/tiny/fold_0_\* .*",
        r"next: \S*python \S*tgs_predict.py --file_name=weights/tiny/fold_0_best.weights.h5 --data_path=\S+/tgs",
        "or train the 2 other folds: this command with --data_path=folds",
    )
    for line, pattern in zip(done.stdout.splitlines(), patterns, strict=True):
        assert re.fullmatch(pattern, line)

    weights = "--file_name=weights/tiny/fold_0_best.weights.h5"
    done = run_here(tgs_predict.main, weights, "--data_path=tgs", cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert re.search(r"predict: +\d+%\|", screen.getvalue())


def eager():
    """tqdm's constructor, without the delay: tests are shorter than that."""
    from tqdm import tqdm

    make = tqdm.__init__
    return lambda self, *args, **kwargs: make(
        self, *args, **(kwargs | {"delay": 0, "mininterval": 0, "ncols": 160, "dynamic_ncols": False})
    )


class Keep:
    """Stands in for contextlib.redirect_stderr: to `screen`, which stays."""

    def __init__(self, screen):
        self.screen = screen

    def __enter__(self):
        self.before, sys.stderr = sys.stderr, self.screen

    def __exit__(self, *_):
        sys.stderr = self.before


@pytest.mark.parametrize(
    ("main", "flag", "names"),
    [
        (tgs_train.main, "model", [*MODELS, "and", *PARTS]),
        (tgs_train.main, "loss", LOSSES),
        (tgs_train.main, "augment", ["warp", "warp2", *DISTORTIONS, *AUGMENTATIONS]),
        (tgs_train.main, "drop", RULES),
        (tgs_preprocess.main, "stratify", STRATIFICATIONS),
    ],
)
def test_lists(tmp_path, main, flag, names):
    done = run_here(main, f"--{flag}=list", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading == f"--{flag}"
    assert [line.split()[0] for line in lines] == list(names)
    assert all(len(line.split()) > 3 for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_the_trained_models_are_listed(trained, tmp_path):
    done = run_here(tgs_predict.main, "--model=list", cwd=trained)
    assert re.fullmatch(
        r"  tiny +best: 3 of 3 folds, score 0\.\d{4} on their validation tiles\n"
        r"  tiny +last: 3 of 3 folds, score 0\.\d{4} on their validation tiles\n",
        done.stdout,
    )
    done = run_here(tgs_predict.main, "--model=list", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: no weights under weights; train first: python tgs_train.py\n"


@pytest.mark.slow
def test_tensorflow_is_silent_unless_asked(tmp_path):
    quiet, loud = (run_script("tgs_train.py", "--loss=list", *flag, cwd=tmp_path) for flag in ((), ("--verbose",)))
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert quiet.stdout == loud.stdout
    assert re.search("oneDNN|cpu_feature_guard|cuInit|absl", loud.stderr)
