"""Pixel metrics: counts of true and false positives and negatives, and ratios of them.

Conventions: a ratio with denominator zero is undefined (`None`) and left out of means; their number is reported. So a
patient without lesions and without predictions has no Dice; one without lesions but with false positives has Dice 0.

Source of the definitions: Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 2024,
doi:10.1038/s41592-023-02151-z.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of pixels by prediction and reference: true and false positives, false and true negatives."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)


def count_pixels(prediction: np.ndarray, reference: np.ndarray) -> Counts:
    """Return the counts of two masks of 0 and 1 of the same shape."""
    tp = int(np.count_nonzero(prediction & reference))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(reference)) - tp
    return Counts(tp, fp, fn, prediction.size - tp - fp - fn)


def dice(c: Counts) -> float | None:
    """Dice: 2 tp / (2 tp + fp + fn), equal to F1; undefined if both masks are empty."""
    return _ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def iou(c: Counts) -> float | None:
    """Intersection over union: tp / (tp + fp + fn); undefined if both masks are empty."""
    return _ratio(c.tp, c.tp + c.fp + c.fn)


def precision(c: Counts) -> float | None:
    """Precision: tp / (tp + fp); undefined without a predicted lesion."""
    return _ratio(c.tp, c.tp + c.fp)


def recall(c: Counts) -> float | None:
    """Recall (sensitivity): tp / (tp + fn); undefined without a lesion."""
    return _ratio(c.tp, c.tp + c.fn)


def specificity(c: Counts) -> float | None:
    """Specificity: tn / (tn + fp); undefined if every pixel is lesion."""
    return _ratio(c.tn, c.tn + c.fp)


def accuracy(c: Counts) -> float | None:
    """Accuracy: (tp + tn) / all; high even for an empty mask, because lesions are small. Undefined without pixels."""
    return _ratio(c.tp + c.tn, c.tp + c.fp + c.fn + c.tn)


METRICS: dict[str, Callable[[Counts], float | None]] = {
    "dice": dice,
    "iou": iou,
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
    "accuracy": accuracy,
}
"""Registry of pixel metrics; a new metric is a function above and a line here."""


def score(counts: Counts) -> dict[str, float | None]:
    """Return every metric of the counts, by name."""
    return {name: metric(counts) for name, metric in METRICS.items()}


def mean_defined(values: Sequence[float | None]) -> float | None:
    """Return the mean of the defined values, or None if no value is defined."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def binary_cross_entropy(probability: np.ndarray, reference: np.ndarray) -> float:
    """Return the binary cross-entropy: the mean of -log p(reference) over pixels, in nats.

    Args:
        probability: uint8 in units of 1/255, any shape; 0 and 255 are moved inwards by half a unit.
        reference: Mask of 0 and 1, same shape.
    """
    p = np.clip(probability.astype(np.float32), 0.5, 254.5) / 255
    return float(-np.mean(np.log(np.where(reference > 0, p, 1 - p))))


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None
