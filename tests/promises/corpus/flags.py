"""Flags that are judged after parsing, and folders not to be entered; the others: tests/common/test_flags.py."""

import tgs_preprocess
from tests.promises.corpus.commands import PREDICT, PREPROCESS, TRAIN, USE_FOLDS, Case
from tests.promises.corpus.damage import forbid, nothing
from tests.promises.corpus.weights import H5

FLAGS: dict[str, Case] = {
    "no such model": (nothing, (*TRAIN, "--model=vgg"), "no model 'vgg'; choose from resnet34, "),
    "a path as model": (nothing, (*TRAIN, "--model=../tiny"), "no model '../tiny'; choose from"),
    "no such model's weights": (nothing, (*USE_FOLDS, "--model=vgg"), "no fold_*_best.weights.h5 in weights/vgg"),
    "a path as model, to predict": (nothing, (*USE_FOLDS, "--model=../weights/tiny"), "--model=../weights/tiny "),
    "no such loss": (nothing, (*TRAIN, "--loss=mse"), "no loss 'mse'; choose from"),
    "half a sum of losses": (nothing, (*TRAIN, "--loss=bce+"), "no loss ''; choose from"),
    "a size that is no multiple": (nothing, (*TRAIN, "--target_size=100"), "target size 100 is not a multiple of 32"),
    "no such stratification": (
        nothing,
        (*PREPROCESS, "--stratify=colour"),
        "no stratification 'colour'; choose from coverage, ",
    ),
    "folds in a file": (
        nothing,
        (*PREPROCESS, "--folds_path=submission.csv"),
        "cannot create the folder submission.csv",
    ),
    "folds among the tiles": (
        nothing,
        (*PREPROCESS, "--folds_path=tgs/train/images"),
        "--folds_path=tgs/train/images ",
    ),
    "submissions in a file": (
        nothing,
        (*PREDICT, "--submission_path=submission.csv"),
        "cannot create the folder submissio",
    ),
    "a name too long": (nothing, (tgs_preprocess.main, f"--data_path={'long' * 75}"), "cannot read longlong"),
    "data not to be entered": (forbid("tgs"), PREPROCESS, "cannot read tgs"),
    "folds not to be entered": (forbid("folds"), TRAIN, "cannot read folds"),
    "weights not to be entered": (forbid("weights"), PREDICT, f"cannot read {H5}: Permission denied"),
}
