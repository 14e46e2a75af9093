"""One training step, from a uint8 batch to updated weights; no input, output or bookkeeping in here."""

from functools import partial

import keras
import tensorflow as tf

from common.ring.base import Ring
from models.losses import loss_of_outputs, lovasz_symmetric, make_loss
from models.randomness import step_random
from training.augment.augmenter import Augmenter
from training.optimizer import AdamW
from training.settings import Settings


class TrainingStep:
    """Augment, forward, loss, gradients, average over the ring, update, moving average of the weights.

    In a ring forward and backward are one compiled function and the update another; the allreduce lies between them,
    since Horovod's operations have no XLA kernel. A single process compiles all as one: a weight is then updated while
    the gradients of others are still computed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        model: keras.Model,
        ema: keras.Model,
        optimizer: AdamW,
        augment: Augmenter,
        ring: Ring,
        mean_from: int | None = None,
        xla: bool = False,
    ):
        """Prepare a step that trains `model` and follows it with `ema`, a second model of the same architecture.

        From step `mean_from` on, `ema` is the equal mean of what the model is after each step from there on (SWA:
        Izmailov et al., 2018, arXiv:1803.05407); before, or always with None, the exponential average. Statistics of
        batch normalisation are averaged as the weights are.
        """
        self._model, self._augment, self._ring, self._loss = model, augment, ring, make_loss(settings.loss)
        self._optimizer, self._seed, self._decay = optimizer, settings.seed, settings.ema_decay
        self.mean_from = mean_from
        self._weights = [v.value for v in model.trainable_variables]
        self._followed = [(e.value, v.value) for e, v in zip(ema.variables, model.variables, strict=True)]
        compiled = partial(tf.function, jit_compile=xla, autograph=False)
        self.gradients, update = compiled(self._compute_gradients), compiled(self._apply_gradients)
        if ring.compiles:
            self._step = compiled(partial(self._do, self._compute_gradients, self._apply_gradients))
        else:
            self._step = partial(self._do, self.gradients, update)

    def __call__(
        self, images: tf.Tensor, masks: tf.Tensor, step: tf.Tensor, lovasz_share: tf.Tensor | None
    ) -> tf.Tensor:
        """Train on one batch; returns this rank's mean loss, a float32 scalar.

        Args:
            images, masks: uint8 (B, 101, 101), masks {0, 1}.
            step: int32 scalar, counted from the start of training; with the seed it fixes all that is left to chance.
            lovasz_share: float32 scalar 0..1, share of the symmetric Lovász hinge in the loss; None never computes it.
        """
        return self._step(images, masks, step, lovasz_share)

    def _do(self, compute, update, *inputs):
        loss, gradients = compute(*inputs)
        _, _, step, _ = inputs
        update(self._ring.average(gradients, "gradients"), step)
        return loss

    def _compute_gradients(self, images, masks, step, lovasz_share):
        def mixed(*, logits, masks):
            losses = self._loss(logits=logits, masks=masks)  # (B,)
            if lovasz_share is None:
                return losses
            # Not computed in the epochs before it comes in, where it would be nothing of the loss.
            return tf.cond(
                lovasz_share > 0.0,
                lambda: losses + lovasz_share * (lovasz_symmetric(logits=logits, masks=masks) - losses),
                lambda: losses,
            )

        with step_random(self._seed, step, images.shape[0], self._ring) as source:
            images, masks = self._augment(images, masks, source.draw((self._augment.draws,)))  # (B, S, S, 1) each
            with tf.GradientTape() as tape:
                outputs = self._model(images, training=True)
                loss = tf.reduce_mean(loss_of_outputs(outputs, masks, mixed))
        return loss, tape.gradient(loss, self._weights)

    def _apply_gradients(self, gradients, step):
        self._optimizer.apply(gradients, step)
        done = tf.cast(step, tf.float32)
        share = 1.0 - tf.minimum(self._decay, (1.0 + done) / (10.0 + done))  # a young average forgets its start faster
        if self.mean_from is not None:
            number = tf.cast(step - self.mean_from + 1, tf.float32)  # of the model in the equal mean, from 1
            share = tf.where(number < 1.0, share, 1.0 / tf.maximum(number, 1.0))
        for average, value in self._followed:  # average -= share * (average - value), in one pass
            tf.raw_ops.ResourceApplyGradientDescent(var=average.handle, alpha=share, delta=average - value)
