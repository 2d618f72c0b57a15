import numpy as np
import pytest

from tasks.core.config.learning import TrainingConfig
from tasks.core.operating_point import choose_operating_point
from tasks.core.probability_histogram import CURVE_LEVELS, ProbabilityHistogram, probability_histogram
from tasks.core.small_lesions import SIZES_PX, SmallLesions, choose_min_lesion_px

AT_0_4 = CURVE_LEVELS.index(102)


def _slice(*lesions: tuple[int, int, bool], level: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return probability and reference of lesions, each a row: its width, how often, and whether it is right."""
    probability, reference = np.zeros((2, 128, 128), np.uint8)
    row = 0
    for width, times, is_right in lesions:
        for _ in range(times):
            probability[row, :width] = level
            reference[row, :width] = is_right
            row += 2
    return probability, reference


def _patient(*lesions: tuple[int, int, bool]) -> tuple[ProbabilityHistogram, SmallLesions]:
    pixels = _slice(*lesions)
    return probability_histogram(*pixels), SmallLesions.of_slice(*pixels)


def _choice(patients: list[tuple[ProbabilityHistogram, SmallLesions]]) -> int:
    histograms, small = zip(*patients, strict=True)
    return choose_min_lesion_px(histograms, small, 0.4)


def test_pixels_of_lesions_below_each_size_are_counted() -> None:
    """A right lesion of 10 px counts from 12 px on, a false one of 3 px from 4 px on, in which 2 px may be right."""
    probability, reference = _slice((10, 1, True), (3, 1, False))
    reference[2, :2] = 1
    found = SmallLesions.of_slice(probability, reference)
    assert found.n_right[AT_0_4].tolist() == [2, 2, 12, 12, 12]
    assert found.n_false[AT_0_4].tolist() == [1, 1, 1, 1, 1]
    assert found.n_right[-1].sum() + found.n_false[-1].sum() == 0, "nothing reaches 0.95"


def test_a_lesion_of_just_the_size_is_kept() -> None:
    """As in the removal: 16 px are not below 16 px."""
    found = SmallLesions.of_slice(*_slice((16, 1, False)))
    assert dict(zip(SIZES_PX, found.n_false[AT_0_4].tolist(), strict=True)) == {4: 0, 8: 0, 12: 0, 16: 0, 24: 16}


def test_the_largest_size_that_costs_next_to_nothing_is_chosen() -> None:
    """Lesions of 5 and 11 px are false; of 20 px, right: removing these would cost a third of the Dice."""
    assert _choice([_patient((100, 1, True), (20, 3, True), (5, 4, False), (11, 1, False))] * 3) == 16


def test_nothing_is_removed_where_nothing_small_is_false() -> None:
    """Else the largest size would be chosen wherever validation patients have large lesions only."""
    assert _choice([_patient((100, 3, True))] * 3) == 0


def test_false_lesions_of_healthy_patients_count() -> None:
    """They are the only false ones here, and are beside three patients with lesions."""
    sick = _patient((100, 3, True))
    assert _choice([sick, sick, sick, _patient((5, 4, False))]) == 24


def test_fewer_than_three_patients_with_lesions_choose_no_size() -> None:
    """Two patients may have no small lesions by chance."""
    assert _choice([_patient((100, 1, True), (5, 4, False))] * 2 + [_patient((5, 4, False))]) == 0


@pytest.mark.parametrize(
    ("rule", "size_px"),
    [("best_dice", 24), ("min_precision", 0), ("best_f_beta", 0), ("min_recall", 0), ("max_false_negative_rate", 0)],
)
def test_rules_with_a_promise_of_their_own_keep_lesions_of_all_sizes(rule: str, size_px: int) -> None:
    """What is removed might be what keeps the promise; the best Dice is what the size is chosen by."""
    asked = TrainingConfig.model_validate({"operating_point": rule, "operating_value": 0.9})
    histograms, small = zip(*[_patient((100, 3, True), (5, 4, False))] * 3, strict=True)
    assert choose_operating_point(histograms, histograms, asked, small).min_lesion_px == size_px
