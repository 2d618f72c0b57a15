"""Rules for thresholds: by hand, and what must hold for every entry of `RULES`."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.config.learning import TrainingConfig
from tasks.core.operating_point import OperatingPoint, point_of
from tasks.core.operating_rules import (
    CANDIDATE_LEVELS,
    RULES,
    max_false_negative_rate,
    mean_dice_at,
    mean_precision_at,
    mean_recall_at,
    penalised_mean_dice,
)
from tasks.core.postprocess import probability_level
from tasks.core.probability_histogram import CURVE_LEVELS, FalseLesions, ProbabilityHistogram
from tests.core.histograms import histogram_of

PIXELS = st.dictionaries(st.integers(0, 255), st.integers(1, 50), min_size=1, max_size=6)
PATIENT = st.builds(lambda lesion, healthy: histogram_of(lesion=lesion, healthy=healthy), PIXELS, PIXELS)
PATIENTS = st.lists(PATIENT, min_size=1, max_size=6)


def _with_false(patient: ProbabilityHistogram, *by_level: int, n_scans: int = 1) -> ProbabilityHistogram:
    return replace(patient, false_lesions=FalseLesions(np.array(by_level), n_scans))


def _chosen(rule: str, value: float | None, *patients: ProbabilityHistogram, confidence: float = 0.9) -> OperatingPoint:
    asked = TrainingConfig.model_validate(
        {"operating_point": rule, "operating_value": value, "operating_confidence": confidence}
    )
    return point_of(patients, asked)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25)
@given(patients=PATIENTS)
def test_a_rule_chooses_a_threshold_that_cuts_and_says_why(name: str, patients: list[ProbabilityHistogram]) -> None:
    """Whatever the patients: between 0 and 1, with a reason, and with a sentence where nothing keeps what is asked."""
    false = [_with_false(patient, *range(len(CURVE_LEVELS), 0, -1)) for patient in patients]
    point = _chosen(name, None, *false)
    assert 0 < point.threshold < 1
    assert point.reason
    assert point.n_patients == len(patients)
    level = probability_level(point.threshold)
    value = RULES[name].default or 0.0
    kept = {
        "min_precision": lambda: (mean_precision_at(patients, level) or 0.0) >= value,
        "min_recall": lambda: (mean_recall_at(patients, level) or 0.0) >= value,
        "max_false_lesions": lambda: bool(not point.unmet),
    }.get(name)
    if kept:
        assert kept() == (not point.unmet)


@pytest.mark.parametrize("name", RULES)
def test_without_lesions_no_rule_chooses(name: str) -> None:
    """Nobody to choose by: the threshold stays at 0.4, without a reason."""
    point = _chosen(name, None, histogram_of(healthy={30: 5}))
    assert (point.threshold, point.reason, point.unmet) == (0.4, "", "")


BOTH_WAYS = histogram_of(lesion={200: 6, 100: 2, 50: 2}, healthy={150: 2, 70: 2, 0: 88})
"""To level 50 ten pixels and four false, to 70 eight and four, to 100 eight and two, to 150 six and two; then six."""


@pytest.mark.parametrize(
    ("rule", "value", "level", "unmet"),
    [
        ("min_precision", 0.7, 13, False),
        ("min_precision", 0.8, 71, False),
        ("min_precision", 0.9, 151, False),
        ("min_recall", 0.8, 100, False),
        ("min_recall", 0.9, 50, False),
        ("min_recall", 0.5, 200, False),
        ("best_f_beta", 10.0, 50, False),
        ("best_f_beta", 0.1, 151, False),
    ],
)
def test_a_limit_is_kept_at_the_least_cost(rule: str, value: float, level: int, *, unmet: bool) -> None:
    """By hand: the highest recall at that precision, the highest precision at that recall, and F-beta at its ends."""
    point = _chosen(rule, value, BOTH_WAYS)
    assert (probability_level(point.threshold), bool(point.unmet)) == (level, unmet)


def test_a_limit_out_of_reach_is_said_with_the_nearest_threshold() -> None:
    """What is asked and what there is stand in the sentence."""
    poor = histogram_of(lesion={200: 5, 2: 5}, healthy={250: 5})
    precise = _chosen("min_precision", 0.9, poor)
    assert "the highest mean precision is 0.500, 0.9 was asked for" in precise.unmet
    complete = _chosen("min_recall", 0.8, poor)
    assert "the highest mean recall is 0.500, 0.8 was asked for" in complete.unmet
    assert probability_level(complete.threshold) == CANDIDATE_LEVELS[0]


def test_false_lesions_are_a_mean_over_patients_and_scans() -> None:
    """Two scans of one patient count half each, and one more patient as the worst: at 0.2 there are 8/3, at 0.3 5/3."""
    fewer = [5, 4, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0]
    other = [5, 4, 4, 4, 2, 2, 0, 0, 0, 0, 0, 0]
    patients = [_with_false(BOTH_WAYS, *fewer), _with_false(BOTH_WAYS, *other, n_scans=2)]
    assert probability_level(_chosen("max_false_lesions", 2.7, *patients).threshold) == 51
    assert probability_level(_chosen("max_false_lesions", 2.6, *patients).threshold) == 77
    assert probability_level(_chosen("max_false_lesions", 1.6, *patients).threshold) == 102
    out_of_reach = _chosen("max_false_lesions", 0.5, _with_false(BOTH_WAYS, *[7] * 11, 3))
    assert "at least 3.00 false lesions per scan remain, at most 0.5 were asked for" in out_of_reach.unmet


def _missed_above(level: int) -> ProbabilityHistogram:
    """Return a patient of whom a fifth is missed at a level and more than that above it."""
    return histogram_of(lesion={level - 1: 20, level: 80}, healthy={0: 100})


def test_the_conformal_threshold_is_a_low_rank_of_the_patients_own() -> None:
    """Nineteen patients, at most one in ten above a fifth missed: the second lowest of their thresholds."""
    patients = [_missed_above(100 + 5 * number) for number in range(19)]
    point = _chosen("max_false_negative_rate", 0.2, *patients)
    assert probability_level(point.threshold) == 105
    assert "at least 90%" in point.reason
    assert not point.unmet


def test_too_few_patients_support_only_the_confidence_they_do() -> None:
    """Four patients and 90 %: the lowest threshold, and 80 % is what holds."""
    point = _chosen("max_false_negative_rate", 0.2, *(_missed_above(level) for level in (90, 120, 130, 140)))
    assert probability_level(point.threshold) == 90
    assert "4 patients with lesions support a confidence of 80%, 90% was asked for" in point.unmet


def test_a_patient_who_is_never_found_leaves_no_threshold() -> None:
    """Half of a lesion at probability 0 is missed at every threshold; it is said, not hidden."""
    lost = histogram_of(lesion={0: 50, 200: 50})
    point = _chosen("max_false_negative_rate", 0.2, lost)
    assert "even at the lowest threshold, a patient's false-negative rate is above 0.2" in point.unmet


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.8, 0.9]), st.sampled_from([9, 12, 19]))
def test_conformal_coverage_holds_over_exchangeable_patients(seed: int, confidence: float, n: int) -> None:
    """Each of n + 1 patients once new, the others calibrate: at least `confidence` of them keep the rate."""
    rng = np.random.default_rng(seed)
    patients = []
    for _ in range(n + 1):
        lesion = np.zeros(256, np.int64)
        lesion[rng.integers(1, 256, 8)] = rng.integers(1, 99, 8)
        patients.append(ProbabilityHistogram(lesion, np.zeros(256, np.int64)))
    kept = 0
    for number, new in enumerate(patients):
        choice = max_false_negative_rate([*patients[:number], *patients[number + 1 :]], 0.3, confidence)
        counts = new.counts_at(choice.level)
        kept += counts.fn <= 0.3 * (counts.tp + counts.fn) + 1e-9
    assert kept / (n + 1) >= min(confidence, n / (n + 1)) - 1e-9


def test_mean_dice_leaves_out_undefined_patients() -> None:
    """A healthy patient without prediction does not count; with one it counts as 0."""
    patients = [histogram_of(lesion={200: 4}), histogram_of(healthy={100: 9})]
    assert mean_dice_at(patients, 150) == 1.0
    assert mean_dice_at(patients, 100) == 0.5
    assert mean_dice_at(patients[1:], 150) is None


def test_false_calls_in_a_healthy_patient_cost_by_their_size() -> None:
    """Left alone he costs nothing; eight pixels beside a usual lesion of four cost half a patient's Dice."""
    patients = [histogram_of(lesion={200: 4}), histogram_of(healthy={100: 8})]
    assert penalised_mean_dice(patients, 150) == 1.0
    assert penalised_mean_dice(patients, 100) == 1.0 - 0.5
    assert penalised_mean_dice(patients[1:], 150) is None
