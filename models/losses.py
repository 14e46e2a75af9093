"""Losses per image: keyword-only `logits` and `masks`, float32 (B, H, W, 1), masks {0, 1}; result (B,)."""

from collections.abc import Callable

import tensorflow as tf

from common.errors import InputError
from common.names import Entry, find, list_names

Loss = Callable[..., tf.Tensor]


def bce(*, logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Compute the binary cross-entropy, mean over pixels, in nats."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=masks, logits=logits), axis=(1, 2, 3))


def dice(*, logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Compute the soft Dice loss, 0..1 (Milletari et al., 2016, arXiv:1606.04797).

    One is added above and below the line: an empty mask with an empty prediction then costs 0, not 1.
    """
    probabilities = tf.sigmoid(logits)
    overlap = tf.reduce_sum(probabilities * masks, axis=(1, 2, 3))
    total = tf.reduce_sum(probabilities + masks, axis=(1, 2, 3))
    return 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)


def lovasz(*, logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Compute the Lovász hinge, the convex surrogate of 1 - IoU (Berman et al., 2018, arXiv:1705.08790), 0 or more."""
    errors, labels = _sort_errors(logits, masks)
    return tf.reduce_sum(tf.nn.relu(errors) * _jaccard_steps(labels), axis=1)


def lovasz_elu(*, logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Lovász hinge with elu(e) + 1 for relu(e): pixels that are already right keep a gradient."""
    errors, labels = _sort_errors(logits, masks)
    return tf.reduce_sum((tf.nn.elu(errors) + 1.0) * _jaccard_steps(labels), axis=1)


def lovasz_symmetric(*, logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Average lovasz_elu of the salt and of the background: empty masks then teach with all their pixels."""
    errors, labels = _sort_errors(logits, masks)  # the same for both: each pixel is as wrong of one as of the other
    errors = tf.nn.elu(errors) + 1.0
    of_salt, of_rest = (tf.reduce_sum(errors * _jaccard_steps(x), axis=1) for x in (labels, 1.0 - labels))
    return (of_salt + of_rest) / 2.0


def _sort_errors(logits: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Sort pixels by descending error, by how much their logit falls short of 1 on its mask's side; (B, P) both."""
    pixels = logits.shape[1] * logits.shape[2]
    logits, labels = (tf.reshape(x, (-1, pixels)) for x in (logits, masks))
    errors = 1.0 - logits * (2.0 * labels - 1.0)
    order = tf.argsort(tf.stop_gradient(errors), direction="DESCENDING")
    errors, labels = (tf.gather(x, order, batch_dims=1) for x in (errors, labels))
    return errors, labels


def _jaccard_steps(labels: tf.Tensor) -> tf.Tensor:
    """Compute how much 1 - IoU grows with each further wrong pixel, (B, P), for labels sorted by descending error."""
    salt = tf.reduce_sum(labels, axis=1, keepdims=True)
    intersection = salt - tf.cumsum(labels, axis=1)
    union = salt + tf.cumsum(1.0 - labels, axis=1)  # at least 1: pixel one is salt or adds to it
    jaccard = 1.0 - intersection / union
    return jaccard - tf.pad(jaccard[:, :-1], ((0, 0), (1, 0)))


LOSSES: dict[str, Entry] = {  # the functions are `Loss`
    "bce": Entry("Binary cross-entropy, mean over pixels, in nats.", bce),
    "dice": Entry("Soft Dice loss, 0..1 (Milletari et al., 2016, arXiv:1606.04797).", dice),
    "lovasz": Entry(
        "Lovász hinge, the convex surrogate of 1 - IoU (Berman et al., 2018, arXiv:1705.08790), 0 or more.", lovasz
    ),
    "lovasz_elu": Entry(
        "Lovász hinge with elu(e) + 1 for relu(e): pixels that are already right keep a gradient.", lovasz_elu
    ),
    "lovasz_symmetric": Entry(
        "Mean of lovasz_elu of the salt and of the background: empty masks then teach with all their pixels.",
        lovasz_symmetric,
    ),
}


def list_losses() -> str:
    """Write a line for each loss."""
    return list_names(LOSSES)


def make_loss(text: str) -> Loss:
    """Make a loss by name, or a sum such as "bce+dice" or "0.1*bce+0.9*lovasz_symmetric".

    Raises:
        InputError: an unknown name (the message lists the known ones) or weight.
    """
    terms = []
    for term in text.split("+"):
        weight, name = term.split("*", 1) if "*" in term else ("1", term)
        try:
            terms.append((float(weight), find(name, LOSSES, "loss", ", or a sum like bce+dice").function))
        except ValueError:
            raise InputError(f"--loss={text}: '{weight}' is not a weight; write 0.5*bce+0.5*dice") from None

    def loss(*, logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
        return tf.add_n([weight * term(logits=logits, masks=masks) for weight, term in terms])

    return loss


# Published weights of the challenge's top solutions that trained with an empty-or-not head.
COARSE = 0.1  # of the mean loss of the coarser stages' logits, on tiles with salt only


SALT = 0.05  # of the binary cross-entropy, in nats, of "is there salt"


def loss_of_outputs(outputs: tf.Tensor | list[tf.Tensor], masks: tf.Tensor, loss: Loss) -> tf.Tensor:
    """Compute the loss of each tile, float32 (B,): of the logits alone, or of the part `deep`'s heads as well.

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
