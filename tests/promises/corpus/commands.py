"""The commands that are given wrong input, and what a case of it is."""

import tgs_predict
import tgs_preprocess
import tgs_train
from tests.promises.corpus.damage import BEST, Damage

PREPROCESS = (tgs_preprocess.main, "--data_path=tgs", "--fold=2")
BY_DEPTH = (*PREPROCESS, "--stratify=depth")
UNPACK = (tgs_preprocess.main, "--data_path=a.zip", "--fold=2")
TINY = ("--model=tiny", "--target_size=32", "--batch_size=8", "--epochs=2")
TRAIN = (tgs_train.main, "--data_path=folds/fold_0", *TINY)
TRAIN_ALL = (tgs_train.main, "--data_path=folds", *TINY)
ENCODER = (*TRAIN, "--encoder_weights=r.safetensors")
PREDICT = (tgs_predict.main, f"--file_name={BEST}.weights.h5", "--data_path=tgs")
USE_FOLDS = (tgs_predict.main, "--use_folds", "--model=tiny", "--allow_missing", "--data_path=tgs")
OOF = (tgs_predict.main, "--oof", "--model=tiny", "--allow_missing")
VALIDATE = (tgs_predict.main, "--validate=submission.csv", "--data_path=tgs")

Case = tuple[Damage, tuple, str]  # what is done to the project, the command, how the line begins
