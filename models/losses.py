"""Losses per image: keyword-only `logits` and `masks`, float32 (B, H, W, 1), masks {0, 1}; result (B,)."""

from collections.abc import Callable

import tensorflow as tf

from common.errors import InputError
from common.names import Entry, find, list_names

Loss = Callable[..., tf.Tensor]

# Errors are told apart, for Lovász, to 0.33 % of 1 + |error|, up to errors of 920.
BINS, FINE = 4096, 300.0


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
    errors, steps = _errors_and_steps(logits, masks)
    return tf.reduce_sum(tf.nn.relu(errors) * steps, axis=1)


def lovasz_elu(*, logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Lovász hinge with elu(e) + 1 for relu(e): pixels that are already right keep a gradient."""
    errors, steps = _errors_and_steps(logits, masks)
    return tf.reduce_sum((tf.nn.elu(errors) + 1.0) * steps, axis=1)


def lovasz_symmetric(*, logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Average lovasz_elu of the salt and of the background: empty masks then teach with all their pixels."""
    errors, steps = _errors_and_steps(logits, masks, symmetric=True)
    return tf.reduce_sum((tf.nn.elu(errors) + 1.0) * steps, axis=1)


def _errors_and_steps(logits: tf.Tensor, masks: tf.Tensor, *, symmetric: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute by how much each logit falls short of 1 on its mask's side, and its step of 1 - IoU; (B, P) both.

    The step is how much 1 - IoU grows with that pixel when pixels are taken as wrong by descending error, and has no
    gradient; `symmetric`: the mean of the salt's and of the background's. Errors are not sorted but counted in BINS
    bins: a sort takes 4 to 9 times as long (benchmarks/README.md). Pixels of a bin are as wrong as each other, and
    share their bin's growth: equally among those of the salt, equally among others, and between the two as they would
    if either came first, on average. This is a subgradient of the extension at equal errors, and sums to the same.
    """
    pixels = logits.shape[1] * logits.shape[2]
    logits, labels = (tf.reshape(x, (-1, pixels)) for x in (logits, masks))
    errors = 1.0 - logits * (2.0 * labels - 1.0)
    still = tf.stop_gradient(errors)
    place = BINS / 2 - FINE * tf.sign(still) * tf.math.log1p(tf.abs(still))
    bins = tf.cast(tf.clip_by_value(place, 0.0, BINS - 1.0), tf.int32)  # 0: the greatest error
    images = tf.shape(logits)[0]
    # Each image has its bins of the background's pixels, then those of the salt's.
    bins += BINS * (tf.cast(labels, tf.int32) + 2 * tf.range(images)[:, None])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(still), bins, 2 * BINS * images)
    rest, salt = tf.unstack(tf.reshape(counts, (images, 2, BINS)), axis=1)
    of_salt, of_rest = _jaccard_steps(salt, rest)
    if symmetric:
        for_rest, for_salt = _jaccard_steps(rest, salt)
        of_salt, of_rest = (of_salt + for_salt) / 2.0, (of_rest + for_rest) / 2.0
    steps = tf.reshape(tf.stack([of_rest, of_salt], axis=1), (-1,))
    return errors, tf.gather(steps, bins)


def _jaccard_steps(salt: tf.Tensor, rest: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute how much 1 - IoU grows with a wrong pixel of the salt, and of the rest, in each bin; (B, BINS) all.

    Args:
        salt, rest: how many pixels of either each bin has, in the order in which bins are taken as wrong.
    """
    total = tf.reduce_sum(salt, axis=1, keepdims=True)
    salt_then, rest_then = tf.cumsum(salt, axis=1), tf.cumsum(rest, axis=1)
    salt_now, rest_now = salt_then - salt, rest_then - rest

    def jaccard(missed: tf.Tensor, added: tf.Tensor) -> tf.Tensor:
        return tf.math.divide_no_nan(missed + added, total + added)  # 1 - IoU: nothing wrong of nothing is 0

    now, then = jaccard(salt_now, rest_now), jaccard(salt_then, rest_then)
    salt_first, rest_first = jaccard(salt_then, rest_now), jaccard(salt_now, rest_then)
    return (
        tf.math.divide_no_nan(salt_first - now + then - rest_first, 2.0 * salt),
        tf.math.divide_no_nan(rest_first - now + then - salt_first, 2.0 * rest),
    )


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
