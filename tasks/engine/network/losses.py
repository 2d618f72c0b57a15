"""Losses on logits, one value per slice, so that padding and shares of workers are weighted exactly."""

from collections.abc import Callable

import tensorflow as tf

DICE_SMOOTHING_PX = 1.0
"""Smoothing of numerator and denominator: the loss of an empty slice is finite, and 0 without predictions."""

MISSED_WEIGHT = 0.7
"""Weight of missed lesion in the Tversky index; false lesion has the rest."""


def bce_loss(logits: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
    """Return the binary cross-entropy of each slice, the mean over its pixels.

    Args:
        logits: float32 `(B, H, W, 1)`.
        reference: float32 of 0 and 1, same shape.

    Returns:
        float32 `(B,)`, in nats.
    """
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(reference, logits), axis=(1, 2, 3))


def dice_loss(logits: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
    """Return 1 - soft Dice of each slice.

    Args:
        logits: float32 `(B, H, W, 1)`.
        reference: float32 of 0 and 1, same shape.

    Returns:
        float32 `(B,)`, in [0, 1).

    Source: Milletari et al., V-Net, arXiv 1606.04797, with first powers in the denominator.
    """
    probability = tf.sigmoid(logits)
    overlap = tf.reduce_sum(probability * reference, axis=(1, 2, 3))
    total = tf.reduce_sum(probability + reference, axis=(1, 2, 3))
    return 1 - (2 * overlap + DICE_SMOOTHING_PX) / (total + DICE_SMOOTHING_PX)


def bce_dice_loss(logits: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
    """Return the sum of both losses, float32 `(B,)`."""
    return bce_loss(logits, reference) + dice_loss(logits, reference)


def tversky_loss(logits: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
    """Return 1 - soft Tversky index of each slice; missed lesion counts more than false lesion.

    Args:
        logits: float32 `(B, H, W, 1)`.
        reference: float32 of 0 and 1, same shape.

    Returns:
        float32 `(B,)`, in [0, 1).

    Source: Salehi et al., arXiv 1706.05721, with beta = 0.7 for missed and alpha = 0.3 for false lesion.
    """
    probability = tf.sigmoid(logits)
    overlap = tf.reduce_sum(probability * reference, axis=(1, 2, 3))
    missed = tf.reduce_sum((1 - probability) * reference, axis=(1, 2, 3))
    false = tf.reduce_sum(probability * (1 - reference), axis=(1, 2, 3))
    weighted = MISSED_WEIGHT * missed + (1 - MISSED_WEIGHT) * false
    return 1 - (overlap + DICE_SMOOTHING_PX) / (overlap + weighted + DICE_SMOOTHING_PX)


def bce_tversky_loss(logits: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
    """Return the sum of binary cross-entropy and Tversky loss, float32 `(B,)`."""
    return bce_loss(logits, reference) + tversky_loss(logits, reference)


LOSSES: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "bce": bce_loss,
    "dice": dice_loss,
    "bce_dice": bce_dice_loss,
    "bce_tversky": bce_tversky_loss,
}
