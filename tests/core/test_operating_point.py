import numpy as np
import pytest

from tasks.core.config.learning import TrainingConfig
from tasks.core.operating_point import OperatingPoint, choose_operating_point, point_of
from tasks.core.operating_rules import CANDIDATE_LEVELS
from tasks.core.postprocess import probability_level
from tasks.core.probability_histogram import CURVE_LEVELS, ProbabilityHistogram
from tests.core.histograms import histogram_of


def _point(patients: list[ProbabilityHistogram]) -> OperatingPoint:
    """Return the point of the default rule."""
    return point_of(patients, TrainingConfig())


def _asked(*, threshold: float | None, flips: bool | None) -> TrainingConfig:
    return TrainingConfig(threshold=threshold, test_time_flips=flips)


def _choice(point: OperatingPoint) -> tuple[int, float | None, int]:
    """Return the level that the chosen threshold cuts at, its mean Dice and the number of patients."""
    return probability_level(point.threshold), point.mean_dice, point.n_patients


def test_of_equally_good_thresholds_the_one_nearest_the_usual_is_chosen() -> None:
    """Lesion at 200, the rest at 50: every level between separates them, and 102/255 is 0.4."""
    point = _point([histogram_of(lesion={200: 10}, healthy={50: 90})])
    assert _choice(point) == (102, 1.0, 1)


def test_threshold_separates_lesion_from_the_rest() -> None:
    """Lesion at 90/255, the rest at 60/255: 90/255 is the separating level nearest 0.4."""
    point = _point([histogram_of(lesion={90: 10}, healthy={60: 90})])
    assert _choice(point) == (90, 1.0, 1)


def test_near_tie_goes_to_the_safer_threshold() -> None:
    """One false positive in a thousand costs less than 0.002 Dice, so 0.4 is kept, with its own Dice."""
    point = _point([histogram_of(lesion={200: 1000}, healthy={152: 1})])
    assert _choice(point) == (102, 2000 / 2001, 1)


def test_clear_gain_moves_the_threshold() -> None:
    """One false positive in ten costs 0.05 Dice: the threshold goes just above it, to 153/255."""
    point = _point([histogram_of(lesion={200: 10}, healthy={152: 1})])
    assert _choice(point) == (153, 1.0, 1)


def test_patients_weigh_the_same_whatever_their_lesions_do() -> None:
    """Two patients with one pixel outvote one with a thousand; pooled over pixels they would not."""
    large = histogram_of(lesion={102: 1000})
    small = histogram_of(lesion={204: 1}, healthy={152: 100})
    point = _point([large, small, small])
    assert _choice(point) == (153, 2 / 3, 3)


def test_false_positives_of_a_healthy_patient_raise_the_threshold() -> None:
    """A third of a usual lesion, falsely called in a patient without one, is worth avoiding."""
    sick = histogram_of(lesion={200: 10}, healthy={10: 90})
    healthy = histogram_of(healthy={152: 3, 10: 97})
    assert _choice(_point([sick])) == (102, 1.0, 1)
    assert _choice(_point([sick, healthy])) == (153, 1.0, 2)


def test_one_false_pixel_of_a_healthy_patient_decides_nothing() -> None:
    """It is there up to 0.94; at 0.95, where it is gone, so is half of another patient's lesion."""
    sick = histogram_of(lesion={200: 60, 250: 40, 2: 40})
    healthy = histogram_of(healthy={240: 1, 10: 99})
    assert _choice(_point([sick, healthy]))[0] == 102


def test_without_any_lesion_there_is_nothing_to_choose_by() -> None:
    """Validation patients without lesion, or no patients, leave 0.4, with no Dice to show."""
    assert _point([histogram_of(healthy={30: 5})]) == OperatingPoint(0.4, None, 1)
    assert _point([]) == OperatingPoint(0.4, None, 0)


def test_hopeless_model_keeps_the_usual_threshold() -> None:
    """Lesions below every candidate give Dice 0 everywhere; the threshold stays the usual one."""
    assert _choice(_point([histogram_of(lesion={5: 10})])) == (102, 0.0, 1)


GOOD = histogram_of(lesion={200: 10}, healthy={50: 90})
POOR = histogram_of(lesion={200: 9, 2: 1}, healthy={50: 90})
"""One lesion pixel in ten is missed at every threshold."""


@pytest.mark.parametrize(
    ("single", "flipped", "asked", "taken"),
    [
        (POOR, GOOD, None, True),
        (GOOD, GOOD, None, False),
        (GOOD, POOR, None, False),
        (GOOD, POOR, True, True),
        (POOR, GOOD, False, False),
    ],
)
def test_flips_are_taken_where_they_help_or_are_asked_for(
    single: ProbabilityHistogram, flipped: ProbabilityHistogram, *, asked: bool | None, taken: bool
) -> None:
    """Unasked, they must add to the mean Dice; the point is that of what is taken, beside the Dice of what is not."""
    point = choose_operating_point([single], [flipped], _asked(threshold=None, flips=asked))
    taken_up, left = (flipped, single) if taken else (single, flipped)
    assert point.flips is taken
    assert point.mean_dice == _point([taken_up]).mean_dice
    assert point.dice_otherwise == (None if asked is False else _point([left]).mean_dice)


def test_flips_that_add_next_to_nothing_are_left() -> None:
    """One lesion pixel in a thousand is not worth up to four times the work."""
    nearly = histogram_of(lesion={200: 999, 2: 1}, healthy={50: 9000})
    assert not choose_operating_point([nearly], [GOOD], _asked(threshold=None, flips=None)).flips


def test_flips_are_judged_at_the_threshold_that_is_set() -> None:
    """At 0.39 flips would help, at the 0.5 that was asked for they lose the lesion."""
    flipped = histogram_of(lesion={105: 10}, healthy={50: 90})
    assert choose_operating_point([POOR], [flipped], _asked(threshold=None, flips=None)).flips
    point = choose_operating_point([POOR], [flipped], _asked(threshold=0.5, flips=None))
    assert (point.flips, point.threshold, point.dice_otherwise) == (False, 0.5, 0.0)


def test_without_lesions_nothing_speaks_for_flips() -> None:
    """Nobody to choose by: the threshold stays at 0.4, and a slice is predicted once."""
    for patients in ([], [histogram_of(healthy={30: 5})]):
        point = choose_operating_point(patients, patients, _asked(threshold=None, flips=None))
        assert (point.threshold, point.flips) == (0.4, False)


def test_healthy_patients_left_alone_change_no_choice() -> None:
    """Nine of them beside one with lesions neither hide a gain by flips nor widen a near tie."""
    healthy = [histogram_of(healthy={0: 100})] * 9
    barely = histogram_of(lesion={200: 98, 2: 2}, healthy={50: 900})
    assert choose_operating_point([barely, *healthy], [GOOD, *healthy], _asked(threshold=None, flips=None)).flips
    off = histogram_of(lesion={200: 10}, healthy={152: 1})
    assert _point([off, *healthy]).threshold == _point([off]).threshold == 153 / 255


@pytest.mark.parametrize("level", CANDIDATE_LEVELS)
def test_the_chosen_threshold_cuts_where_it_was_chosen(level: int) -> None:
    """A threshold that is perfect between two neighbouring levels separates them when it is applied."""
    lesion, healthy = np.zeros(256, np.int64), np.zeros(256, np.int64)
    lesion[level], healthy[level - 1] = 10, 90
    point = _point([ProbabilityHistogram(lesion, healthy)])
    assert point.mean_dice == 1
    assert probability_level(point.threshold) == level


def test_a_point_carries_the_curve_it_was_chosen_on() -> None:
    """At each threshold of the curve the means over patients; false lesions where they were counted."""
    point = _point([histogram_of(lesion={200: 3, 20: 1}, healthy={100: 1, 0: 9})])
    assert [found["threshold"] for found in point.curve] == [level / 255 for level in CURVE_LEVELS]
    first, last = point.curve[0], point.curve[-1]
    assert (first["recall"], first["precision"], first["dice"]) == (1.0, 4 / 5, 8 / 9)
    assert (last["recall"], last["precision"], last["false_lesions"]) == (0.0, None, None)
    assert _point([histogram_of(healthy={30: 5})]).curve == ()
