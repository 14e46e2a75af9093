"""Our worker (see worker.py): training and prediction as tgs_train.py and tgs_predict.py do them.

    {"ask": "start", "name": "a", "job": "train", "model": "resnet34", "size": 128, "batch": 16, "mode": "bfloat16"}

A training step takes uint8 tiles from the host's memory, places and augments them, goes forward and back, updates the
weights and their moving average. Prediction takes uint8 tiles in numpy arrays and returns probabilities in others.
"""

import time
from itertools import repeat

import numpy as np
import tensorflow as tf

from benchmarks.worker import Block, serve
from common.device import claim_device
from common.ring.single import SingleProcess
from data.tiles import TILE
from models.geometry import Geometry
from models.predictor import Predictor
from models.unet import make_model
from models.weights import versions
from training.learner import Learner
from training.settings import Settings


def tiles(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images uint8 (B, 101, 101) and masks {0, 1} of the same shape and type."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (batch, TILE, TILE), np.uint8)
    return images, (rng.random(images.shape) < 0.25).astype(np.uint8)


def train(*, model: str, size: int, batch: int, mode: str) -> Block:
    """Steps of training; they end with the reading of every loss, as an epoch does."""
    settings = Settings(model=model, target_size=size, mixed_precision=mode == "bfloat16")
    learner = Learner(settings, 200, SingleProcess(), batch_size=batch)
    with tf.device("cpu"):
        images, masks = map(tf.constant, tiles(batch))

    def block(steps: int) -> float:
        return steps * batch / learner.train_epoch(repeat((images, masks), steps), 0).speed

    return block


def infer(*, model: str, size: int, batch: int, mode: str) -> Block:
    """Predictions of a batch of tiles, without test-time augmentation."""
    net = make_model(model, size, mixed_precision=mode == "bfloat16")
    gpu = bool(tf.config.list_physical_devices("GPU"))
    predictor = Predictor([(net, Geometry(size))], batch_size=batch, xla=gpu)
    images, _ = tiles(batch)

    def block(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            predictor(images)
        return time.perf_counter() - started

    return block


def main() -> None:
    """Serve both jobs on this process's device."""
    claim_device()
    serve({"train": train, "infer": infer}, versions)


if __name__ == "__main__":
    main()
