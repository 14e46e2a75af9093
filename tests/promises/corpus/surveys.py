"""SEG-Y files that are none, or not as a survey is, and flags that do not fit one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

import data.tiles_from_segy
from tests.helpers.segys import BAD_SURVEYS, amplitudes, grid, patch, volume, write_segy
from tests.promises.corpus.commands import PREDICT, USE_FOLDS, Case
from tests.promises.corpus.damage import Damage, folder_at, forbid, pipe_at

SURVEY = (*USE_FOLDS[:-1], "--data_path=survey.sgy")


def made(make: Callable[[Path], object]) -> Damage:
    """What puts a file there."""
    return lambda project: make(project / "survey.sgy")


def all_alike(value: float) -> Callable[[Path], Path]:
    return lambda path: write_segy(path, grid(range(18), range(18)), np.full((324, 40), value))


SURVEYS: dict[str, Case] = {
    **{name: (made(make), SURVEY, "survey.sgy ") for name, (make, _) in BAD_SURVEYS.items()},
    "no file": (lambda project: None, SURVEY, "cannot read survey.sgy: No such file"),
    "a folder": (folder_at("survey.sgy"), SURVEY, "cannot read survey.sgy: Is a directory"),
    "a pipe": (pipe_at("survey.sgy"), SURVEY, "survey.sgy is a pipe"),
    "two byte orders": (
        made(lambda path: patch(volume(path), 3296, bytes((4, 3, 2, 1)))),
        SURVEY,
        "survey.sgy has two byte orders",
    ),
    "smaller than a window": (made(volume), SURVEY, "survey.sgy is smaller than a window of 101: its sections have 5"),
    "smaller in the other direction": (
        made(lambda path: write_segy(path, grid(range(3), range(30)), amplitudes(90))),
        (*SURVEY, "--tile=16", "--slices=crossline"),
        "survey.sgy is smaller than a window of 16: its sections have 3 traces",
    ),
    "dead": (made(all_alike(0)), (*SURVEY, "--tile=16"), "survey.sgy has no amplitudes"),
    "not finite": (made(all_alike(np.nan)), (*SURVEY, "--tile=16"), "survey.sgy has no amplitudes"),
    "a byte that begins no field": (
        made(volume),
        (*SURVEY, "--inline_byte=190"),
        "no field of a trace header begins at byte 190",
    ),
    "both of a line": (
        made(lambda path: write_segy(path, [{21: k} for k in range(40)], amplitudes(40))),
        (*SURVEY, "--tile=16", "--slices=both"),
        "survey.sgy is a single line",
    ),
    "labels of another survey": (
        lambda project: (volume(project / "a.sgy"), volume(project / "b.sgy", 2)),
        (data.tiles_from_segy.main, "a.sgy", "b.sgy", "--path=mine"),
        "b.sgy (6 inlines x 5 crosslines x 40 samples, 30 traces) has no line of a.sgy",
    ),
    "no labels": (
        made(volume),
        (data.tiles_from_segy.main, "survey.sgy", "labels.sgy", "--path=mine"),
        "cannot read labels.sgy: No such file",
    ),
    "a report of a survey": (made(volume), (*SURVEY, "--report"), "--report and --probabilities=png show tiles"),
    "a mask of tiles": (lambda project: None, (*PREDICT, "--mask"), "--mask and --slices are for SEG-Y"),
    "a ring for a check": (
        lambda project: None,
        (PREDICT[0], "--validate=submission.csv", "--hvd=True"),
        "--hvd does not go with --validate",
    ),
    "unreadable": (
        lambda project: (volume(project / "survey.sgy"), forbid("survey.sgy")(project)),
        SURVEY,
        "cannot re",
    ),
}
