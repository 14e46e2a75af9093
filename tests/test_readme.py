"""The README's examples of extending the toolkit, run as they stand there."""

import re

import keras
import pandas as pd
import tensorflow as tf

from data.folds import STRATIFICATIONS
from models.blocks import conv_bn_relu
from models.losses import LOSSES, make_loss
from models.unet import MODELS, Architecture, make_model
from tests.scripts import ROOT

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_an_encoder_and_a_loss_of_your_own(monkeypatch):
    names = {"conv_bn_relu": conv_bn_relu, "tf": tf}
    exec(EXAMPLES[0], names)
    monkeypatch.setitem(MODELS, "mine", Architecture(names["my_encoder"], (256, 128, 64, 32, 16)))
    monkeypatch.setitem(LOSSES, "mine", names["my_loss"])
    logits = make_model("mine", 64)(tf.zeros((2, 64, 64, 1)))
    assert logits.shape == (2, 64, 64, 1)
    assert make_loss("bce+mine")(logits=logits, masks=tf.zeros_like(logits)).shape == (2,)
    assert isinstance(names["my_encoder"](keras.Input((64, 64, 1))), dict)


def test_a_stratification_of_your_own(monkeypatch, tmp_path, sample):
    monkeypatch.setattr("data.folds.STRATIFICATIONS", dict(STRATIFICATIONS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tgs").symlink_to(sample)
    exec(EXAMPLES[1], {})
    assert pd.read_csv("folds/folds.csv")["fold"].nunique() == 5
