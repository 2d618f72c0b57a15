import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.metrics import Counts, count_pixels, precision, recall
from tasks.core.operating_point import (
    CANDIDATE_LEVELS,
    OperatingPoint,
    ProbabilityHistogram,
    choose_operating_point,
    choose_threshold,
    mean_dice_at,
    penalised_mean_dice,
    precision_recall_curve,
    probability_histogram,
)
from tasks.core.postprocess import probability_level

PROBABILITIES = hnp.arrays(np.uint8, (5, 5))
REFERENCES = hnp.arrays(np.uint8, (5, 5), elements=st.integers(0, 1))


def _histogram(*, lesion: dict[int, int] | None = None, healthy: dict[int, int] | None = None) -> ProbabilityHistogram:
    """Return a histogram from pixels by level."""
    counts = np.zeros((2, 256), np.int64)
    for row, by_level in zip(counts, (lesion, healthy), strict=True):
        for level, n in (by_level or {}).items():
            row[level] = n
    return ProbabilityHistogram(*counts)


def _choice(point: OperatingPoint) -> tuple[int, float | None, int]:
    """Return the level that the chosen threshold cuts at, its mean Dice and the number of patients."""
    return probability_level(point.threshold), point.mean_dice, point.n_patients


def test_histogram_counts_lesion_and_healthy_apart() -> None:
    """Pixels of a 2 x 2 slice land in the bins of their probabilities, on the side of the reference."""
    histogram = probability_histogram(np.array([[0, 255], [255, 7]], np.uint8), np.array([[0, 1], [0, 1]], np.uint8))
    expected = _histogram(lesion={255: 1, 7: 1}, healthy={0: 1, 255: 1})
    np.testing.assert_array_equal(histogram.lesion, expected.lesion)
    np.testing.assert_array_equal(histogram.healthy, expected.healthy)


@given(probability=PROBABILITIES, reference=REFERENCES, level=st.integers(0, 256))
def test_counts_at_a_level_are_those_of_the_mask(probability: np.ndarray, reference: np.ndarray, level: int) -> None:
    """The histogram gives the counts that thresholding the slice there would give."""
    histogram = probability_histogram(probability, reference)
    assert histogram.counts_at(level) == count_pixels((probability >= level).astype(np.uint8), reference)


@given(PROBABILITIES, REFERENCES, PROBABILITIES, REFERENCES)
def test_histograms_of_slices_add_up_to_the_patient(
    p1: np.ndarray, r1: np.ndarray, p2: np.ndarray, r2: np.ndarray
) -> None:
    """Adding the histograms of two slices is the histogram of both together."""
    added = probability_histogram(p1, r1) + probability_histogram(p2, r2)
    whole = probability_histogram(np.stack([p1, p2]), np.stack([r1, r2]))
    np.testing.assert_array_equal(added.lesion, whole.lesion)
    np.testing.assert_array_equal(added.healthy, whole.healthy)


def test_of_equally_good_thresholds_the_one_nearest_the_usual_is_chosen() -> None:
    """Lesion at 200, the rest at 50: every level between separates them, and 102/255 is 0.4."""
    point = choose_threshold([_histogram(lesion={200: 10}, healthy={50: 90})])
    assert _choice(point) == (102, 1.0, 1)


def test_threshold_separates_lesion_from_the_rest() -> None:
    """Lesion at 90/255, the rest at 60/255: 90/255 is the separating level nearest 0.4."""
    point = choose_threshold([_histogram(lesion={90: 10}, healthy={60: 90})])
    assert _choice(point) == (90, 1.0, 1)


def test_near_tie_goes_to_the_safer_threshold() -> None:
    """One false positive in a thousand costs less than 0.002 Dice, so 0.4 is kept, with its own Dice."""
    point = choose_threshold([_histogram(lesion={200: 1000}, healthy={152: 1})])
    assert _choice(point) == (102, 2000 / 2001, 1)


def test_clear_gain_moves_the_threshold() -> None:
    """One false positive in ten costs 0.05 Dice: the threshold goes just above it, to 153/255."""
    point = choose_threshold([_histogram(lesion={200: 10}, healthy={152: 1})])
    assert _choice(point) == (153, 1.0, 1)


def test_patients_weigh_the_same_whatever_their_lesions_do() -> None:
    """Two patients with one pixel outvote one with a thousand; pooled over pixels they would not."""
    large = _histogram(lesion={102: 1000})
    small = _histogram(lesion={204: 1}, healthy={152: 100})
    point = choose_threshold([large, small, small])
    assert _choice(point) == (153, 2 / 3, 3)


def test_false_positives_of_a_healthy_patient_raise_the_threshold() -> None:
    """A third of a usual lesion, falsely called in a patient without one, is worth avoiding."""
    sick = _histogram(lesion={200: 10}, healthy={10: 90})
    healthy = _histogram(healthy={152: 3, 10: 97})
    assert _choice(choose_threshold([sick])) == (102, 1.0, 1)
    assert _choice(choose_threshold([sick, healthy])) == (153, 1.0, 2)


def test_one_false_pixel_of_a_healthy_patient_decides_nothing() -> None:
    """It is there up to 0.94; at 0.95, where it is gone, so is half of another patient's lesion."""
    sick = _histogram(lesion={200: 60, 250: 40, 2: 40})
    healthy = _histogram(healthy={240: 1, 10: 99})
    assert _choice(choose_threshold([sick, healthy]))[0] == 102


def test_without_any_lesion_there_is_nothing_to_choose_by() -> None:
    """Validation patients without lesion, or no patients, leave 0.4, with no Dice to show."""
    assert choose_threshold([_histogram(healthy={30: 5})]) == OperatingPoint(0.4, None, 1)
    assert choose_threshold([]) == OperatingPoint(0.4, None, 0)


def test_hopeless_model_keeps_the_usual_threshold() -> None:
    """Lesions below every candidate give Dice 0 everywhere; the threshold stays the usual one."""
    assert _choice(choose_threshold([_histogram(lesion={5: 10})])) == (102, 0.0, 1)


GOOD = _histogram(lesion={200: 10}, healthy={50: 90})
POOR = _histogram(lesion={200: 9, 2: 1}, healthy={50: 90})
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
    point = choose_operating_point([single], [flipped], threshold=None, flips=asked)
    taken_up, left = (flipped, single) if taken else (single, flipped)
    assert point.flips is taken
    assert point.mean_dice == choose_threshold([taken_up]).mean_dice
    assert point.dice_otherwise == (None if asked is False else choose_threshold([left]).mean_dice)


def test_flips_that_add_next_to_nothing_are_left() -> None:
    """One lesion pixel in a thousand is not worth up to four times the work."""
    nearly = _histogram(lesion={200: 999, 2: 1}, healthy={50: 9000})
    assert not choose_operating_point([nearly], [GOOD], threshold=None, flips=None).flips


def test_flips_are_judged_at_the_threshold_that_is_set() -> None:
    """At 0.39 flips would help, at the 0.5 that was asked for they lose the lesion."""
    flipped = _histogram(lesion={105: 10}, healthy={50: 90})
    assert choose_operating_point([POOR], [flipped], threshold=None, flips=None).flips
    point = choose_operating_point([POOR], [flipped], threshold=0.5, flips=None)
    assert (point.flips, point.threshold, point.dice_otherwise) == (False, 0.5, 0.0)


def test_without_lesions_nothing_speaks_for_flips() -> None:
    """Nobody to choose by: the threshold stays at 0.4, and a slice is predicted once."""
    for patients in ([], [_histogram(healthy={30: 5})]):
        point = choose_operating_point(patients, patients, threshold=None, flips=None)
        assert (point.threshold, point.flips) == (0.4, False)


def test_mean_dice_leaves_out_undefined_patients() -> None:
    """A healthy patient without prediction does not count; with one it counts as 0."""
    patients = [_histogram(lesion={200: 4}), _histogram(healthy={100: 9})]
    assert mean_dice_at(patients, 150) == 1.0
    assert mean_dice_at(patients, 100) == 0.5
    assert mean_dice_at(patients[1:], 150) is None


def test_false_calls_in_a_healthy_patient_cost_by_their_size() -> None:
    """Left alone he costs nothing; eight pixels beside a usual lesion of four cost half a patient's Dice."""
    patients = [_histogram(lesion={200: 4}), _histogram(healthy={100: 8})]
    assert penalised_mean_dice(patients, 150) == 1.0
    assert penalised_mean_dice(patients, 100) == 1.0 - 0.5
    assert penalised_mean_dice(patients[1:], 150) is None


def test_healthy_patients_left_alone_change_no_choice() -> None:
    """Nine of them beside one with lesions neither hide a gain by flips nor widen a near tie."""
    healthy = [_histogram(healthy={0: 100})] * 9
    barely = _histogram(lesion={200: 98, 2: 2}, healthy={50: 900})
    assert choose_operating_point([barely, *healthy], [GOOD, *healthy], threshold=None, flips=None).flips
    off = _histogram(lesion={200: 10}, healthy={152: 1})
    assert choose_threshold([off, *healthy]).threshold == choose_threshold([off]).threshold == 153 / 255


@given(PROBABILITIES, REFERENCES)
def test_curve_agrees_with_the_counts_at_every_threshold(probability: np.ndarray, reference: np.ndarray) -> None:
    """Each point of the curve is precision and recall of the mask at that level, NaN where undefined."""
    histogram = probability_histogram(probability, reference)
    thresholds, precisions, recalls = precision_recall_curve(histogram)
    assert thresholds.shape == precisions.shape == recalls.shape == (255,)
    counts = [histogram.counts_at(level) for level in range(1, 256)]
    np.testing.assert_allclose(thresholds, [level / 255 for level in range(1, 256)])
    np.testing.assert_allclose(precisions, [np.nan if (p := precision(c)) is None else p for c in counts])
    np.testing.assert_allclose(recalls, [np.nan if (r := recall(c)) is None else r for c in counts])


def test_curve_by_hand() -> None:
    """Three lesion pixels at 200, one at 50, one healthy at 100: by hand at three levels."""
    histogram = _histogram(lesion={200: 3, 50: 1}, healthy={100: 1, 0: 9})
    _, precisions, recalls = precision_recall_curve(histogram)
    assert (precisions[49], recalls[49]) == (pytest.approx(4 / 5), 1.0)
    assert (precisions[100], recalls[100]) == (1.0, 0.75)
    assert np.isnan(precisions[200])
    assert recalls[200] == 0
    assert histogram.counts_at(50) == Counts(tp=4, fp=1, fn=0, tn=9)


@pytest.mark.parametrize("level", CANDIDATE_LEVELS)
def test_the_chosen_threshold_cuts_where_it_was_chosen(level: int) -> None:
    """A threshold that is perfect between two neighbouring levels separates them when it is applied."""
    lesion, healthy = np.zeros(256, np.int64), np.zeros(256, np.int64)
    lesion[level], healthy[level - 1] = 10, 90
    point = choose_threshold([ProbabilityHistogram(lesion, healthy)])
    assert point.mean_dice == 1
    assert probability_level(point.threshold) == level
