"""What each rule for the operating point does to patients it was not chosen on, over random splits of patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tasks.core.config.learning import TrainingConfig
from tasks.core.metrics import dice, mean_defined, precision, recall
from tasks.core.operating_point import point_of
from tasks.core.operating_rules import mean_false_lesions
from tasks.core.postprocess import probability_level
from tasks.core.probability_histogram import CURVE_LEVELS, ProbabilityHistogram

N_SPLITS = 220
"""All splits of twelve patients into nine and three."""
N_UNSEEN = 3
ASKED: tuple[tuple[str, float | None], ...] = (
    ("best_dice", None),
    ("best_f_beta", 0.5),
    ("best_f_beta", 2.0),
    ("min_precision", 0.7),
    ("min_precision", 0.8),
    ("min_precision", 0.9),
    ("min_recall", 0.6),
    ("min_recall", 0.7),
    ("min_recall", 0.8),
    ("max_false_lesions", 1.0),
    ("max_false_lesions", 2.0),
    ("max_false_lesions", 5.0),
    ("max_false_negative_rate", 0.2),
    ("max_false_negative_rate", 0.3),
    ("max_false_negative_rate", 0.5),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a rule over all splits.

    Attributes:
        rule: Name of the rule and its value.
        threshold: Mean threshold.
        n_unmet: Splits in which the patients that choose do not keep what is asked.
        dice: Mean over splits of the unseen patients' mean Dice.
        precision: Likewise.
        recall: Likewise.
        false_lesions: Likewise, per scan; None where they were not counted.
        coverage: Share of unseen patients whose false-negative rate is at most the value; None for other rules.
    """

    rule: str
    threshold: float
    n_unmet: int
    dice: float | None
    precision: float | None
    recall: float | None
    false_lesions: float | None
    coverage: float | None


def outcomes(
    patients: Sequence[ProbabilityHistogram],
    *,
    asked: Sequence[tuple[str, float | None]] = ASKED,
    n_splits: int = N_SPLITS,
    seed: int = 0,
) -> list[Outcome]:
    """Return the outcome of every rule on patients, each predicted by a network that never saw them."""
    has_lesions = all(patient.false_lesions is not None for patient in patients)
    return [
        _outcome(patients, rule, value, n_splits, np.random.default_rng(seed))
        for rule, value in asked
        if has_lesions or rule != "max_false_lesions"
    ]


def _outcome(
    patients: Sequence[ProbabilityHistogram], rule: str, value: float | None, n_splits: int, rng: np.random.Generator
) -> Outcome:
    asked = TrainingConfig.model_validate({"operating_point": rule, "operating_value": value})
    found: dict[str, list[float | None]] = {
        name: [] for name in ("threshold", "unmet", "dice", "precision", "recall", "false", "kept")
    }
    splits = list(combinations(range(len(patients)), N_UNSEEN))
    for number in rng.permutation(len(splits))[:n_splits]:
        unseen = [patients[index] for index in splits[number]]
        others = [patient for index, patient in enumerate(patients) if index not in splits[number]]
        point = point_of(others, asked)
        counts = [patient.counts_at(probability_level(point.threshold)) for patient in unseen]
        found["threshold"].append(point.threshold)
        found["unmet"].append(float(bool(point.unmet)))
        for name, metric in (("dice", dice), ("precision", precision), ("recall", recall)):
            found[name].append(mean_defined([metric(of_one) for of_one in counts]))
        if false := mean_false_lesions(unseen):
            found["false"].append(float(np.interp(255 * point.threshold, CURVE_LEVELS, false)))
        if rule == "max_false_negative_rate":
            found["kept"] += [float(1 - (recall(of_one) or 0.0) <= (value or 0.0) + 1e-9) for of_one in counts]
    means = {name: mean_defined(values) for name, values in found.items()}
    return Outcome(
        rule if value is None else f"{rule} {value:g}",
        threshold=means["threshold"] or 0.0,
        n_unmet=round(len(found["unmet"]) * (means["unmet"] or 0.0)),
        dice=means["dice"],
        precision=means["precision"],
        recall=means["recall"],
        false_lesions=means["false"],
        coverage=means["kept"],
    )
