"""Operating point of a bundle: threshold, flips and minimum lesion size, chosen on validation patients."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tasks.core.config.learning import TrainingConfig
from tasks.core.operating_rules import (
    RULES,
    USUAL_THRESHOLD,
    Patients,
    mean_dice_at,
    mean_false_lesions,
    mean_precision_at,
    mean_recall_at,
    penalised_mean_dice,
)
from tasks.core.postprocess import probability_level
from tasks.core.probability_histogram import CURVE_LEVELS
from tasks.core.small_lesions import SmallLesions, choose_min_lesion_px

MIN_FLIPS_GAIN = 0.005
"""Least gain in mean validation Dice for which flips are used; they cost up to 3 more predictions per slice."""

CurvePoint = dict[str, float | None]
"""Point of a curve: `threshold`, and the means over patients of `dice`, `precision`, `recall`, `false_lesions`."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Operating point and its scores on the patients it was chosen on.

    Attributes:
        threshold: Smallest probability at which a pixel is labelled lesion.
        mean_dice: Mean Dice over these patients; None if no patient has lesions.
        n_patients: Number of these patients.
        reason: Why this threshold was chosen, with `{patients}` for these patients; empty if it was set, or if no
            patient has lesions.
        unmet: What the rule asks for and these patients do not reach; empty if they do.
        flips: Whether test-time flips are used.
        min_lesion_px: Area below which lesions are removed, pixels in a slice at the model's size; 0 = none are.
        dice_otherwise: Mean Dice with the other choice of flips; None if it was not measured.
        penalised_dice: Criterion of the choice of flips (`penalised_mean_dice`); None if no patient has lesions.
        curve: Scores of these patients over thresholds.
    """

    threshold: float
    mean_dice: float | None
    n_patients: int
    reason: str = ""
    unmet: str = ""
    flips: bool = False
    min_lesion_px: int = 0
    dice_otherwise: float | None = None
    penalised_dice: float | None = None
    curve: tuple[CurvePoint, ...] = field(default=(), compare=False)


def choose_operating_point(
    single: Patients, flipped: Patients, asked: TrainingConfig, small: Sequence[SmallLesions] = ()
) -> OperatingPoint:
    """Return the operating point, with flips if they are requested or improve the mean Dice enough.

    Args:
        single: One histogram per validation patient, without flips.
        flipped: The same with flips; unused if flips are switched off.
        asked: Rule, or fixed threshold; whether to use flips (None uses them if they add `MIN_FLIPS_GAIN`).
        small: Small lesions of each validation patient, without flips; none keeps lesions of all sizes.
    """
    point = _with_or_without_flips(single, flipped, asked)
    if RULES[asked.operating_point].keeps_small:
        return point
    return replace(point, min_lesion_px=choose_min_lesion_px(single, small, point.threshold))


def _with_or_without_flips(single: Patients, flipped: Patients, asked: TrainingConfig) -> OperatingPoint:
    without = point_of(single, asked)
    if asked.test_time_flips is False:
        return without
    with_flips = point_of(flipped, asked)
    gain = (with_flips.penalised_dice or 0.0) - (without.penalised_dice or 0.0)
    if asked.test_time_flips or gain >= MIN_FLIPS_GAIN:
        return replace(with_flips, flips=True, dice_otherwise=without.mean_dice)
    return replace(without, dice_otherwise=with_flips.mean_dice)


def point_of(patients: Patients, asked: TrainingConfig) -> OperatingPoint:
    """Return the operating point on these patients: the threshold that is set, else the one that the rule chooses."""
    has_lesion = any(patient.lesion.any() for patient in patients)
    threshold, reason, unmet = asked.threshold or USUAL_THRESHOLD, "", ""
    if asked.threshold is None and has_lesion:
        rule = RULES[asked.operating_point]
        value = asked.operating_value or rule.default or 0.0  # 0: of a rule that takes none
        choice = rule.choose(patients, value, asked.operating_confidence)
        threshold, reason, unmet = choice.level / 255, choice.reason, choice.unmet
    level = probability_level(threshold)
    return OperatingPoint(
        threshold,
        mean_dice_at(patients, level) if has_lesion else None,
        len(patients),
        reason=reason,
        unmet=unmet,
        penalised_dice=penalised_mean_dice(patients, level),
        curve=_curve(patients) if has_lesion else (),
    )


def _curve(patients: Patients) -> tuple[CurvePoint, ...]:
    false: Sequence[float | None] = mean_false_lesions(patients) or [None] * len(CURVE_LEVELS)
    return tuple(
        {
            "threshold": level / 255,
            "dice": mean_dice_at(patients, level),
            "precision": mean_precision_at(patients, level),
            "recall": mean_recall_at(patients, level),
            "false_lesions": n_false,
        }
        for level, n_false in zip(CURVE_LEVELS, false, strict=True)
    )
