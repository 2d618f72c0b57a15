"""Histograms of predicted probabilities, over lesion pixels and over all others.

Probabilities are stored in 8 bits, so two histograms of 256 integers hold the pixel counts at every threshold at once.
"""

from dataclasses import dataclass

import numpy as np

from tasks.core.lesions import LesionCounts, count_lesions
from tasks.core.metrics import Counts

N_LEVELS = 256
CURVE_LEVELS = (3, 13, 26, 51, 77, 102, 128, 153, 179, 204, 230, 242)
"""Levels, in units of 1/255, of the curves of an operating point: thresholds of 0.01, 0.05, 0.1, 0.2 … 0.9 and 0.95."""


@dataclass(frozen=True, slots=True)
class FalseLesions:
    """Numbers of false lesions of a patient at each of `CURVE_LEVELS`.

    Attributes:
        by_level: int64 `(len(CURVE_LEVELS),)`, summed over scans.
        n_scans: Number of these scans.
    """

    by_level: np.ndarray
    n_scans: int

    def __add__(self, other: "FalseLesions") -> "FalseLesions":
        return FalseLesions(self.by_level + other.by_level, self.n_scans + other.n_scans)

    @classmethod
    def of_scan(cls, probability: np.ndarray, reference: np.ndarray) -> "FalseLesions":
        """Return the numbers of a scan.

        Args:
            probability: uint8 `(D, H, W)`, in units of 1/255.
            reference: Mask of 0 and 1, likewise.
        """
        masks = ((probability >= level).astype(np.uint8) for level in CURVE_LEVELS)
        counts = [sum(count_lesions(mask, reference, None), LesionCounts()) for mask in masks]
        return cls(np.array([of_level.n_false for of_level in counts], np.int64), 1)


@dataclass(frozen=True, slots=True)
class ProbabilityHistogram:
    """Histogram of the predicted 8-bit probabilities.

    Attributes:
        lesion: int64 `(256,)`, counts over lesion pixels of the reference.
        healthy: int64 `(256,)`, counts over all other pixels.
        false_lesions: Numbers of false lesions, where they were counted.
    """

    lesion: np.ndarray
    healthy: np.ndarray
    false_lesions: FalseLesions | None = None

    @classmethod
    def empty(cls) -> "ProbabilityHistogram":
        """Return a histogram without pixels."""
        return cls(np.zeros(N_LEVELS, np.int64), np.zeros(N_LEVELS, np.int64))

    def __add__(self, other: "ProbabilityHistogram") -> "ProbabilityHistogram":
        false = [of.false_lesions for of in (self, other) if of.false_lesions is not None]
        return ProbabilityHistogram(
            self.lesion + other.lesion,
            self.healthy + other.healthy,
            sum(false[1:], false[0]) if false else None,
        )

    def counts_at(self, level: int) -> Counts:
        """Return the counts if probabilities of at least `level`/255 are lesion."""
        tp, fp = int(self.lesion[level:].sum()), int(self.healthy[level:].sum())
        return Counts(tp, fp, int(self.lesion.sum()) - tp, int(self.healthy.sum()) - fp)


def probability_histogram(probability: np.ndarray, reference: np.ndarray) -> ProbabilityHistogram:
    """Return the histogram of a slice.

    Args:
        probability: uint8, any shape, in units of 1/255.
        reference: Mask of 0 and 1, same shape.
    """
    is_lesion = reference > 0
    return ProbabilityHistogram(
        lesion=np.bincount(probability[is_lesion], minlength=N_LEVELS),
        healthy=np.bincount(probability[~is_lesion], minlength=N_LEVELS),
    )


def precision_recall_curve(histogram: ProbabilityHistogram) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return thresholds, precision and recall, float64 `(255,)` each; precision is NaN where nothing is predicted."""
    levels = np.arange(1, N_LEVELS)
    tp = histogram.lesion[::-1].cumsum()[::-1][1:].astype(np.float64)
    fp = histogram.healthy[::-1].cumsum()[::-1][1:]
    n_lesion = float(histogram.lesion.sum())
    precision = np.divide(tp, tp + fp, out=np.full(tp.shape, np.nan), where=(tp + fp) > 0)
    recall = tp / n_lesion if n_lesion else np.full(tp.shape, np.nan)
    return levels / 255, precision, recall
