"""One training step, from a uint8 batch to updated weights; no input, output or bookkeeping in here."""

import keras
import tensorflow as tf

from data.augmentation import Augmenter
from models.losses import Loss, lovasz_symmetric
from models.optimizer import AdamW
from models.ring import Solo


class TrainingStep:
    """Augment, forward, loss, gradients, average over the ring, update, moving average of the weights.

    Forward and backward are one compiled function and the update another; the allreduce lies between them, since
    Horovod's operations have no XLA kernel.
    """

    def __init__(
        self,
        *,
        model: keras.Model,
        ema: keras.Model,
        optimizer: AdamW,
        loss: Loss,
        augment: Augmenter,
        ring: Solo,
        seed: int,
        ema_decay: float = 0.999,
        xla: bool = False,
    ):
        """Prepare a step that trains `model` and follows it with `ema`, a second model of the same architecture."""
        self._model, self._augment, self._ring, self._loss = model, augment, ring, loss
        self._optimizer, self._seed, self._decay = optimizer, seed, ema_decay
        self._weights = [v.value for v in model.trainable_variables]
        self._followed = [(e.value, v.value) for e, v in zip(ema.variables, model.variables, strict=True)]
        self._gradients = tf.function(self._compute_gradients, jit_compile=xla, autograph=False)
        self._apply = tf.function(self._apply_gradients, jit_compile=xla, autograph=False)

    def __call__(
        self, images: tf.Tensor, masks: tf.Tensor, step: tf.Tensor, lovasz_share: tf.Tensor | None
    ) -> tf.Tensor:
        """Train on one batch; returns this rank's mean loss, a float32 scalar.

        Args:
            images, masks: uint8 (B, 101, 101), masks {0, 1}.
            step: int32 scalar, counted from the start of training; with the seed it fixes the augmentation.
            lovasz_share: float32 scalar 0..1, share of the symmetric Lovász hinge in the loss; None never computes it.
        """
        loss, gradients = self._gradients(images, masks, step, lovasz_share)
        gradients = self._ring.average(gradients, "gradients")
        self._apply(gradients, step)
        return loss

    def _compute_gradients(self, images, masks, step, lovasz_share):
        batch = images.shape[0]
        # Drawn for the global batch, of which this rank takes its part: all ranks differ, and a ring of N augments as
        # one process with N times the batch does.
        draws = _uniform((self._ring.size * batch, self._augment.draws), (self._seed, step))
        mine = draws[self._ring.rank * batch : (self._ring.rank + 1) * batch]
        images, masks = self._augment(images, masks, mine)  # (B, S, S, 1) each
        with tf.GradientTape() as tape:
            logits = self._model(images, training=True)
            losses = self._loss(logits=logits, masks=masks)  # (B,)
            if lovasz_share is not None:
                losses += lovasz_share * (lovasz_symmetric(logits=logits, masks=masks) - losses)
            loss = tf.reduce_mean(losses)
        return loss, tape.gradient(loss, self._weights)

    def _apply_gradients(self, gradients, step):
        self._optimizer.apply(gradients, step)
        done = tf.cast(step, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + done) / (10.0 + done))  # a young average forgets its start faster
        for average, value in self._followed:
            average.assign_add((1.0 - decay) * (value - average))


def _uniform(shape: tuple[int, ...], seed: tuple) -> tf.Tensor:
    """Uniform float32 in [0, 1) from a seed of two integers, the same with XLA and without.

    tf.random.stateless_uniform agrees on the bits only, not on how they become floats.
    """
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.uint32, alg="philox")
    return tf.cast(bits // 256, tf.float32) / 2.0**24
