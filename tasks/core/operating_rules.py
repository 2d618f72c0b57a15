"""Rules that choose the threshold of a bundle on validation patients.

Every patient counts alike: means are over patients, whatever the size of their lesions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.catalog import OperatingRule
from tasks.core.metrics import Counts, dice, mean_defined, precision, recall
from tasks.core.plural import counted
from tasks.core.probability_histogram import CURVE_LEVELS, ProbabilityHistogram

CANDIDATE_LEVELS = range(13, 243)  # thresholds from 0.05 to 0.95
NEAR_TIE_DICE = 0.02
"""Standard deviation between patients of the change in Dice with the threshold (measured on the public coronacases:
from 0.5 to 0.8, +0.01 for one patient, -0.03 for another). Over n patients with lesions, thresholds within
0.02 / sqrt(n) count as equal."""
USUAL_THRESHOLD = 0.4
"""Threshold to which near ties are decided. On the public scans unseen patients have the same mean Dice from 0.3 to 0.5
(0.67 to 0.68 and 0.74), and at 0.4 fewer missed pixels than at 0.5 (infra/docs/accuracy.md)."""
ROUNDING = 1e-9

Patients = Sequence[ProbabilityHistogram]
"""One histogram per validation patient."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Threshold that a rule chose.

    Attributes:
        level: The threshold, in units of 1/255.
        reason: Why this one, with `{patients}` for the patients it was chosen on.
        unmet: What was asked and is not reached on these patients; empty if it is.
    """

    level: int
    reason: str
    unmet: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule for the choice of a threshold.

    Attributes:
        choose: Function from patients, of whom at least one has lesions, value and confidence to the choice.
        default: Value unless one is set; None if the rule takes none.
        keeps_small: Whether small lesions are kept, because the rule promises what their removal could break.
    """

    choose: Callable[[Patients, float, float], Choice]
    default: float | None = None
    keeps_small: bool = False


def best_dice(patients: Patients, _value: float, _confidence: float) -> Choice:
    """Choose the threshold with the best mean Dice; of near ties, the one nearest to the usual one.

    The fewer patients, the wider a near tie, so that one patient does not move the threshold far.
    """
    by_level = {level: penalised_mean_dice(patients, level) or 0.0 for level in CANDIDATE_LEVELS}
    tie = max(by_level.values()) - NEAR_TIE_DICE / len(_sick(patients)) ** 0.5
    near = [level for level, penalised_dice in by_level.items() if penalised_dice >= tie]
    return Choice(_nearest_to_usual(near), f"best mean Dice of {{patients}}, near ties towards {USUAL_THRESHOLD}")


def best_f_beta(patients: Patients, beta: float, _confidence: float) -> Choice:
    """Choose the threshold with the best mean F-beta of the patients with lesions; above 1, recall weighs more.

    F-beta = (1 + beta²) tp / ((1 + beta²) tp + beta² fn + fp). Source: van Rijsbergen, Information Retrieval, 1979.
    """
    weight = beta**2

    def mean_at(level: int) -> float:
        counts = [patient.counts_at(level) for patient in _sick(patients)]
        return float(np.mean([(1 + weight) * c.tp / ((1 + weight) * c.tp + weight * c.fn + c.fp) for c in counts]))

    by_level = {level: mean_at(level) for level in CANDIDATE_LEVELS}
    best = max(by_level.values())
    level = _nearest_to_usual([level for level, found in by_level.items() if found >= best])
    return Choice(level, f"best mean F{beta:g} ({best:.3f}) of {{patients}}")


def min_precision(patients: Patients, least: float, _confidence: float) -> Choice:
    """Choose the lowest threshold at which the mean precision is at least a value: the highest recall it allows."""
    by_level = {level: mean_precision_at(patients, level) or 0.0 for level in CANDIDATE_LEVELS}
    met = [level for level, found in by_level.items() if found >= least]
    level = min(met) if met else max(by_level, key=lambda level: by_level[level])
    return Choice(
        level,
        f"highest recall with a mean precision of at least {least:g}, on {{patients}}",
        "" if met else f"the highest mean precision is {by_level[level]:.3f}, {least:g} was asked for",
    )


def min_recall(patients: Patients, least: float, _confidence: float) -> Choice:
    """Choose the highest threshold at which the mean recall is at least a value: the highest precision it allows."""
    by_level = {level: mean_recall_at(patients, level) or 0.0 for level in CANDIDATE_LEVELS}
    met = [level for level, found in by_level.items() if found >= least]
    level = max(met) if met else min(by_level)
    return Choice(
        level,
        f"highest precision with a mean recall of at least {least:g}, on {{patients}}",
        "" if met else f"the highest mean recall is {by_level[level]:.3f}, {least:g} was asked for",
    )


def max_false_lesions(patients: Patients, most: float, _confidence: float) -> Choice:
    """Choose the lowest threshold with at most so many false lesions per scan: the highest recall it allows.

    A new patient is counted with as many as the worst of these: means of few are often exceeded. Source of the idea:
    conformal risk control, Angelopoulos et al., arXiv 2208.02814, whose losses are bounded; numbers of lesions are not.
    """
    per_scan = _false_lesions_per_scan(patients)
    cautious = (per_scan.sum(axis=0) + per_scan.max(axis=0)) / (len(per_scan) + 1)
    by_level = dict(zip(CURVE_LEVELS, cautious.tolist(), strict=True))
    met = [level for level, found in by_level.items() if found <= most]
    level = min(met) if met else min(by_level, key=lambda level: by_level[level])
    return Choice(
        level,
        f"lowest threshold with at most {most:g} false lesions per scan ({by_level[level]:.2f}, with one more patient "
        "like the worst), on {patients}",
        "" if met else f"at least {by_level[level]:.2f} false lesions per scan remain, at most {most:g} were asked for",
    )


def max_false_negative_rate(patients: Patients, most: float, confidence: float) -> Choice:
    """Choose a threshold at which a new patient's false-negative rate exceeds a value only so often (conformal).

    Each patient has a highest threshold at which 1 - recall is at most the value. Of n of them the k-th lowest is
    chosen, k = floor((1 - confidence) (n + 1)): a new patient, exchangeable with these, then has a lower one with a
    probability of at most k / (n + 1). Needs k of at least 1, so the smallest honest 1 - confidence is 1 / (n + 1).

    Source: Vovk et al., Algorithmic learning in a random world, 2005; for lesions arXiv 2510.17897.
    """
    sick = _sick(patients)
    limits = sorted(_highest_level(patient, most) for patient in sick)
    k = max(1, int((1 - confidence) * (len(sick) + 1) + ROUNDING))
    held = 1 - k / (len(sick) + 1)
    reason = (
        f"highest threshold at which a new patient's false-negative rate is at most {most:g} with a probability of at "
        f"least {held:.0%}, on {{patients}}"
    )
    unmet = ""
    if held < confidence - ROUNDING:
        patients_shown = counted(len(sick), "patient")
        unmet = f"{patients_shown} with lesions support a confidence of {held:.0%}, {confidence:.0%} was asked for"
    if limits[k - 1] == 0:
        unmet = f"even at the lowest threshold, a patient's false-negative rate is above {most:g}"
    return Choice(min(max(1, limits[k - 1]), CANDIDATE_LEVELS[-1]), reason, unmet)


RULES: dict[OperatingRule, Rule] = {
    "best_dice": Rule(best_dice),
    "best_f_beta": Rule(best_f_beta, default=2.0, keeps_small=True),
    "min_precision": Rule(min_precision, default=0.8, keeps_small=True),
    "min_recall": Rule(min_recall, default=0.8, keeps_small=True),
    "max_false_lesions": Rule(max_false_lesions, default=2.0),
    "max_false_negative_rate": Rule(max_false_negative_rate, default=0.2, keeps_small=True),
}
"""Registry of rules; a new one is a function above, a line here and its name in `OperatingRule`."""


def mean_dice_at(patients: Patients, level: int) -> float | None:
    """Return the mean Dice over the patients for which it is defined, at a level."""
    return mean_defined([dice(patient.counts_at(level)) for patient in patients])


def mean_precision_at(patients: Patients, level: int) -> float | None:
    """Return the mean precision over the patients in whom anything is predicted, at a level."""
    return mean_defined([precision(patient.counts_at(level)) for patient in patients])


def mean_recall_at(patients: Patients, level: int) -> float | None:
    """Return the mean recall over the patients with lesions, at a level."""
    return mean_defined([recall(patient.counts_at(level)) for patient in patients])


def mean_false_lesions(patients: Patients) -> list[float]:
    """Return the false lesions per scan at each of `CURVE_LEVELS`, over patients; empty if they were not counted."""
    per_scan = _false_lesions_per_scan(patients)
    return per_scan.mean(axis=0).tolist() if len(per_scan) else []


def penalised_mean_dice(patients: Patients, level: int) -> float | None:
    """Return the criterion by which epochs, flips and the best Dice are chosen; None if no patient has lesions.

    It is the mean Dice of the patients with lesions, minus a penalty for false positives in patients without. Dice of a
    patient without lesions is 0 with a single false pixel and undefined otherwise, so that one pixel would decide.
    The penalty instead is 1 minus the Dice the patient would have if a lesion of the mean size had been found in them.
    Without false positives in such patients, the criterion is the mean Dice.
    """
    return penalised_dice_of([patient.counts_at(level) for patient in patients])


def penalised_dice_of(counts: Sequence[Counts]) -> float | None:
    """Return `penalised_mean_dice` from the counts of each patient."""
    sick = [of_one for of_one in counts if of_one.tp + of_one.fn]
    if not sick:
        return None
    usual = Counts(tp=round(sum(of_one.tp + of_one.fn for of_one in sick) / len(sick)))
    costs = [1.0 - (dice(of_one + usual) or 0.0) for of_one in counts if not of_one.tp + of_one.fn]
    return (sum(dice(of_one) or 0.0 for of_one in sick) - sum(costs)) / len(sick)


def _false_lesions_per_scan(patients: Patients) -> np.ndarray:
    """Return the false lesions per scan of each patient in whom they were counted, `(n, len(CURVE_LEVELS))`."""
    found = [patient.false_lesions for patient in patients if patient.false_lesions is not None]
    return np.array([each.by_level / each.n_scans for each in found]).reshape(-1, len(CURVE_LEVELS))


def _sick(patients: Patients) -> Patients:
    """Return the patients with lesions."""
    return [patient for patient in patients if patient.lesion.any()]


def _nearest_to_usual(levels: Sequence[int]) -> int:
    return min(levels, key=lambda level: abs(level - 255 * USUAL_THRESHOLD))


def _highest_level(patient: ProbabilityHistogram, most: float) -> int:
    """Return the highest level at which a patient's false-negative rate is at most a value; 0 if there is none."""
    n_missed = np.cumsum(patient.lesion) / patient.lesion.sum()  # by levels up to and including each
    return int(np.searchsorted(n_missed, most + ROUNDING, side="right"))
