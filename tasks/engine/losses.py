"""Losses on logits over a global batch: every worker's share weighs in exactly, and padding not at all.

A loss is given `total`, which sums a tensor over all workers; its value is that of the whole global batch, and its
gradient the calling worker's share of it, so that adding up the workers' gradients gives the gradient of the whole.
"""

from collections.abc import Callable

import tensorflow as tf

Total = Callable[[tf.Tensor], tf.Tensor]
Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, Total], tf.Tensor]

DICE_SMOOTHING_PX = 1.0
"""Added above and below the fraction: keeps the loss of an empty batch finite, and 0 when nothing is predicted."""


def bce_loss(logits: tf.Tensor, reference: tf.Tensor, weights: tf.Tensor, total: Total) -> tf.Tensor:
    """Return the mean binary cross-entropy over the pixels of the global batch.

    Args:
        logits: float32 `(B, H, W, 1)`, this worker's slices.
        reference: float32 of 0 and 1, same shape.
        weights: float32 `(B,)`; padding weighs 0.
        total: Sums over all workers.

    Returns:
        float32 scalar, in nats.
    """
    by_slice = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(reference, logits), axis=(1, 2, 3))
    return total(tf.reduce_sum(by_slice * weights)) / tf.maximum(total(tf.reduce_sum(weights)), 1.0)


def dice_loss(logits: tf.Tensor, reference: tf.Tensor, weights: tf.Tensor, total: Total) -> tf.Tensor:
    """Return 1 - soft Dice, pooled over the global batch.

    Pooled, because that is how a patient is scored: a slice counts by the size of its lesion, and a small or absent one
    does not outvote a large one (nnU-Net does the same for its 2-D networks, `batch_dice`).

    Args:
        logits: float32 `(B, H, W, 1)`, this worker's slices.
        reference: float32 of 0 and 1, same shape.
        weights: float32 `(B,)`; padding weighs 0.
        total: Sums over all workers.

    Returns:
        float32 scalar, in [0, 1).

    Source: Milletari et al., V-Net, arXiv 1606.04797, with first powers in the denominator.
    """
    probability = tf.sigmoid(logits)
    overlap = total(tf.reduce_sum(tf.reduce_sum(probability * reference, axis=(1, 2, 3)) * weights))
    size = total(tf.reduce_sum(tf.reduce_sum(probability + reference, axis=(1, 2, 3)) * weights))
    return 1 - (2 * overlap + DICE_SMOOTHING_PX) / (size + DICE_SMOOTHING_PX)


def bce_dice_loss(logits: tf.Tensor, reference: tf.Tensor, weights: tf.Tensor, total: Total) -> tf.Tensor:
    """Return the sum of both losses, float32 scalar."""
    return bce_loss(logits, reference, weights, total) + dice_loss(logits, reference, weights, total)


LOSSES: dict[str, Loss] = {"bce": bce_loss, "dice": dice_loss, "bce_dice": bce_dice_loss}


def total_over_workers(local: tf.Tensor) -> tf.Tensor:
    """Return the sum over all workers, with the gradient of the local part alone; called inside a replica."""
    summed = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(local))
    return local + tf.stop_gradient(summed - local)


def total_of_one(local: tf.Tensor) -> tf.Tensor:
    """Return the sum over the only worker there is."""
    return local
