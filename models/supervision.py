"""The loss of all that a network puts out; without the part `deep` that is one thing, its logits."""

import tensorflow as tf

from models.losses import Loss

# Published weights of the challenge's top solutions that trained with an empty-or-not head.
COARSE = 0.1  # of the mean loss of the coarser stages' logits, on tiles with salt only
SALT = 0.05  # of the binary cross-entropy, in nats, of "is there salt"


def loss_of_outputs(outputs: tf.Tensor | list[tf.Tensor], masks: tf.Tensor, loss: Loss) -> tf.Tensor:
    """Loss of each tile, float32 (B,): of the logits alone, or of the part `deep`'s heads as well.

    Args:
        outputs: logits (B, S, S, 1), or a list of these, those of "is there salt" (B, 1) and each coarser stage's.
        masks: float32 (B, S, S, 1), {0, 1}, as augmented: they say which tiles have salt.
        loss: of logits and masks, a value a tile.
    """
    logits, *heads = outputs if isinstance(outputs, list | tuple) else [outputs]
    losses = loss(logits=logits, masks=masks)
    if heads:
        salt_logits, *coarse = heads
        salt = tf.reduce_max(masks, axis=(1, 2, 3))  # (B,), 1: there is some
        # Each tile's own, not divided by how many have salt: a ring of N then is one process with N times the batch,
        # and a batch without salt divides nothing by zero.
        losses += COARSE * salt * tf.add_n([loss(logits=c, masks=masks) for c in coarse]) / len(coarse)
        losses += SALT * tf.nn.sigmoid_cross_entropy_with_logits(labels=salt, logits=salt_logits[:, 0])
    return losses
