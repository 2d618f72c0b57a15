"""Choice of the operating point (threshold and test-time flips) on validation patients.

Histograms of the 8-bit probabilities, over lesion pixels and over all others, hold the counts at every threshold at
once, in 2 x 256 integers per slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.core.metrics import Counts, dice, mean_defined
from tasks.core.postprocess import probability_level

N_LEVELS = 256
CANDIDATE_LEVELS = range(13, 243)  # thresholds from 0.05 to 0.95
NEAR_TIE_DICE = 0.02
"""Standard deviation between patients of the change in Dice with the threshold (measured on the public coronacases:
from 0.5 to 0.8, +0.01 for one patient, -0.03 for another). Over n patients with lesions, thresholds within
0.02 / sqrt(n) count as equal."""
USUAL_THRESHOLD = 0.4
"""Threshold to which near ties are decided. On the public scans unseen patients have the same mean Dice from 0.3 to 0.5
(0.67 to 0.68 and 0.74), and at 0.4 fewer missed pixels than at 0.5 (infra/docs/accuracy.md)."""
MIN_FLIPS_GAIN = 0.005
"""Least gain in mean validation Dice for which flips are used; they cost up to 3 more predictions per slice."""


@dataclass(frozen=True, slots=True)
class ProbabilityHistogram:
    """Histogram of the predicted 8-bit probabilities.

    Attributes:
        lesion: int64 `(256,)`, counts over lesion pixels of the reference.
        healthy: int64 `(256,)`, counts over all other pixels.
    """

    lesion: np.ndarray
    healthy: np.ndarray

    @classmethod
    def empty(cls) -> "ProbabilityHistogram":
        """Return a histogram without pixels."""
        return cls(np.zeros(N_LEVELS, np.int64), np.zeros(N_LEVELS, np.int64))

    def __add__(self, other: "ProbabilityHistogram") -> "ProbabilityHistogram":
        return ProbabilityHistogram(self.lesion + other.lesion, self.healthy + other.healthy)

    def counts_at(self, level: int) -> Counts:
        """Return the counts if probabilities of at least `level`/255 are lesion."""
        tp, fp = int(self.lesion[level:].sum()), int(self.healthy[level:].sum())
        return Counts(tp, fp, int(self.lesion.sum()) - tp, int(self.healthy.sum()) - fp)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Operating point and its scores on the patients it was chosen on.

    Attributes:
        threshold: Smallest probability at which a pixel is labelled lesion.
        mean_dice: Mean Dice over these patients; None if no patient has lesions.
        n_patients: Number of these patients.
        flips: Whether test-time flips are used.
        dice_otherwise: Mean Dice with the other choice of flips; None if it was not measured.
        penalised_dice: Criterion of the choice (`penalised_mean_dice`); None if no patient has lesions.
    """

    threshold: float
    mean_dice: float | None
    n_patients: int
    flips: bool = False
    dice_otherwise: float | None = None
    penalised_dice: float | None = None


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


def choose_threshold(patients: Sequence[ProbabilityHistogram]) -> OperatingPoint:
    """Return the threshold with the best mean Dice over patients; of near ties, the one nearest to the usual one.

    The fewer patients, the wider a near tie, so that one patient does not move the threshold far.

    Args:
        patients: One histogram per validation patient.
    """
    by_level = {
        level: found for level in CANDIDATE_LEVELS if (found := penalised_mean_dice(patients, level)) is not None
    }
    if not by_level:  # without lesions there is no criterion
        return OperatingPoint(USUAL_THRESHOLD, mean_dice=None, n_patients=len(patients))
    n_sick = sum(bool(patient.lesion.any()) for patient in patients)
    tie = max(by_level.values()) - NEAR_TIE_DICE / n_sick**0.5
    level = min(
        (level for level, penalised_dice in by_level.items() if penalised_dice >= tie),
        key=lambda level: abs(level - 255 * USUAL_THRESHOLD),
    )
    return _point_at(level / 255, patients)


def choose_operating_point(
    single: Sequence[ProbabilityHistogram],
    flipped: Sequence[ProbabilityHistogram],
    *,
    threshold: float | None,
    flips: bool | None,
) -> OperatingPoint:
    """Return the operating point, with flips if they are requested or improve the mean Dice enough.

    Args:
        single: One histogram per validation patient, without flips.
        flipped: The same with flips; unused if `flips` is False.
        threshold: Fixed threshold; None chooses it, separately without and with flips.
        flips: Whether to use flips; None uses them if they add `MIN_FLIPS_GAIN`.
    """
    without = _point(single, threshold)
    if flips is False:
        return without
    with_flips = _point(flipped, threshold)
    gain = (with_flips.penalised_dice or 0.0) - (without.penalised_dice or 0.0)
    if flips or gain >= MIN_FLIPS_GAIN:
        return replace(with_flips, flips=True, dice_otherwise=without.mean_dice)
    return replace(without, dice_otherwise=with_flips.mean_dice)


def _point(patients: Sequence[ProbabilityHistogram], threshold: float | None) -> OperatingPoint:
    if threshold is None:
        return choose_threshold(patients)
    return _point_at(threshold, patients)


def _point_at(threshold: float, patients: Sequence[ProbabilityHistogram]) -> OperatingPoint:
    """Return the operating point of a fixed threshold."""
    level = probability_level(threshold)
    penalised_dice = penalised_mean_dice(patients, level)
    mean_dice = None if penalised_dice is None else mean_dice_at(patients, level)
    return OperatingPoint(threshold, mean_dice, len(patients), penalised_dice=penalised_dice)


def mean_dice_at(patients: Sequence[ProbabilityHistogram], level: int) -> float | None:
    """Return the mean Dice over the patients for which it is defined, at a level."""
    return mean_defined([dice(patient.counts_at(level)) for patient in patients])


def penalised_mean_dice(patients: Sequence[ProbabilityHistogram], level: int) -> float | None:
    """Return the criterion by which thresholds, epochs and flips are chosen; None if no patient has lesions.

    It is the mean Dice of the patients with lesions, minus a penalty for false positives in patients without. Dice of a
    patient without lesions is 0 with a single false pixel and undefined otherwise, so that one pixel would decide.
    The penalty instead is 1 minus the Dice the patient would have if a lesion of the mean size had been found in them.
    Without false positives in such patients, the criterion is the mean Dice.
    """
    counts = [patient.counts_at(level) for patient in patients]
    sick = [of_one for of_one in counts if of_one.tp + of_one.fn]
    if not sick:
        return None
    usual = Counts(tp=round(sum(of_one.tp + of_one.fn for of_one in sick) / len(sick)))
    costs = [1.0 - (dice(of_one + usual) or 0.0) for of_one in counts if not of_one.tp + of_one.fn]
    return (sum(dice(of_one) or 0.0 for of_one in sick) - sum(costs)) / len(sick)


def precision_recall_curve(histogram: ProbabilityHistogram) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return thresholds, precision and recall, float64 `(255,)` each; precision is NaN where nothing is predicted."""
    levels = np.arange(1, N_LEVELS)
    tp = histogram.lesion[::-1].cumsum()[::-1][1:].astype(np.float64)
    fp = histogram.healthy[::-1].cumsum()[::-1][1:]
    n_lesion = float(histogram.lesion.sum())
    precision = np.divide(tp, tp + fp, out=np.full(tp.shape, np.nan), where=(tp + fp) > 0)
    recall = tp / n_lesion if n_lesion else np.full(tp.shape, np.nan)
    return levels / 255, precision, recall
