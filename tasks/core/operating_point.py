"""At which probability does a pixel become lesion? Chosen from validation patients, and shown with its curve.

A histogram of the model's 8-bit probabilities over lesion pixels and over the rest holds the counts at every
threshold at once, in 2 x 256 integers a slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.core.metrics import Counts, dice, mean_defined
from tasks.core.postprocess import probability_level

N_LEVELS = 256
CANDIDATE_LEVELS = range(13, 243)  # thresholds from 0.05 to 0.95
NEAR_TIE_DICE = 0.02
"""Spread between patients of what moving the threshold does to Dice (seen on the public coronacases: from 0.5 to 0.8,
+0.01 for one patient, -0.03 for another). Over n patients with lesions, thresholds within 0.02 / sqrt(n) are as good as
equal."""
MIN_FLIPS_GAIN = 0.005
"""What flips must add to the mean Dice of validation patients: they cost up to three predictions more a slice."""


@dataclass(frozen=True, slots=True)
class ProbabilityHistogram:
    """How often the model gave each 8-bit probability.

    Attributes:
        lesion: int64 `(256,)`, over reference lesion pixels.
        healthy: int64 `(256,)`, over the other pixels.
    """

    lesion: np.ndarray
    healthy: np.ndarray

    @classmethod
    def empty(cls) -> "ProbabilityHistogram":
        """Return that of no pixel."""
        return cls(np.zeros(N_LEVELS, np.int64), np.zeros(N_LEVELS, np.int64))

    def __add__(self, other: "ProbabilityHistogram") -> "ProbabilityHistogram":
        return ProbabilityHistogram(self.lesion + other.lesion, self.healthy + other.healthy)

    def counts_at(self, level: int) -> Counts:
        """Return the counts when probabilities of at least `level`/255 are called lesion."""
        tp, fp = int(self.lesion[level:].sum()), int(self.healthy[level:].sum())
        return Counts(tp, fp, int(self.lesion.sum()) - tp, int(self.healthy.sum()) - fp)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The chosen threshold and what it gives on the patients it was chosen from.

    Attributes:
        threshold: Probability.
        mean_dice: Mean over these patients; None where no patient has lesions.
        n_patients: Patients it was chosen from.
        flips: Whether mirror images are predicted too.
        dice_otherwise: Mean Dice with the other choice of flips; None where nobody looked.
        merit: By what it was judged (`penalised_mean_dice`); None where no patient has lesions.
    """

    threshold: float
    mean_dice: float | None
    n_patients: int
    flips: bool = False
    dice_otherwise: float | None = None
    merit: float | None = None


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
    """Return the threshold with the best mean Dice over patients, of near ties the one nearest 0.5.

    The fewer patients, the wider a near tie: one patient must not push the threshold far from even odds.

    Args:
        patients: One histogram a validation patient.
    """
    by_level = {
        level: found for level in CANDIDATE_LEVELS if (found := penalised_mean_dice(patients, level)) is not None
    }
    if not by_level:  # nothing to choose by
        return OperatingPoint(threshold=0.5, mean_dice=None, n_patients=len(patients))
    n_sick = sum(bool(patient.lesion.any()) for patient in patients)
    tie = max(by_level.values()) - NEAR_TIE_DICE / n_sick**0.5
    level = min((level for level, merit in by_level.items() if merit >= tie), key=lambda level: abs(level - 127.5))
    return _point_at(level / 255, patients)


def choose_operating_point(
    single: Sequence[ProbabilityHistogram],
    flipped: Sequence[ProbabilityHistogram],
    *,
    threshold: float | None,
    flips: bool | None,
) -> OperatingPoint:
    """Return the threshold, with flips where they are asked for or worth their price.

    Args:
        single: One histogram a validation patient, of single predictions.
        flipped: The same with flips; of no matter where `flips` is False.
        threshold: One that is set; None chooses, for single and for flipped predictions apart.
        flips: Whether they are asked for; None takes them if they add `MIN_FLIPS_GAIN`.
    """
    without = _point(single, threshold)
    if flips is False:
        return without
    with_flips = _point(flipped, threshold)
    gain = (with_flips.merit or 0.0) - (without.merit or 0.0)
    if flips or gain >= MIN_FLIPS_GAIN:
        return replace(with_flips, flips=True, dice_otherwise=without.mean_dice)
    return replace(without, dice_otherwise=with_flips.mean_dice)


def _point(patients: Sequence[ProbabilityHistogram], threshold: float | None) -> OperatingPoint:
    if threshold is None:
        return choose_threshold(patients)
    return _point_at(threshold, patients)


def _point_at(threshold: float, patients: Sequence[ProbabilityHistogram]) -> OperatingPoint:
    """Return what a threshold gives on these patients."""
    level = probability_level(threshold)
    merit = penalised_mean_dice(patients, level)
    mean_dice = None if merit is None else mean_dice_at(patients, level)
    return OperatingPoint(threshold, mean_dice, len(patients), merit=merit)


def mean_dice_at(patients: Sequence[ProbabilityHistogram], level: int) -> float | None:
    """Return the mean Dice over patients at a level, leaving out patients where it is undefined."""
    return mean_defined([dice(patient.counts_at(level)) for patient in patients])


def penalised_mean_dice(patients: Sequence[ProbabilityHistogram], level: int) -> float | None:
    """Return by what levels, epochs and flips are judged; None where no patient has lesions.

    It is the mean Dice of the patients with lesions, less what is falsely called in the others. Their own Dice is 0
    with a single false pixel and undefined without, so that this pixel would decide; instead each costs what it would
    lack to a Dice of 1 if a lesion of the usual size had been found in him, too. Without such patients, and where
    nothing is called in them, it is the mean Dice.
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
