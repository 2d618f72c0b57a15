import functools
import operator

import numpy as np
import pytest

from tasks.core.probability_histogram import FalseLesions, ProbabilityHistogram, probability_histogram
from tasks.core.quality import sample_slice
from tasks.core.small_lesions import SmallLesions
from tasks.core.smoothing import smooth_along_z
from tasks.stages.case_histograms import CaseHistograms
from tasks.stages.case_qualities import CaseQualities
from tasks.stages.case_small_lesions import CaseSmallLesions

RNG = np.random.default_rng(0)
PROBABILITY = RNG.integers(0, 256, (7, 4, 4)).astype(np.uint8)
MASKS = RNG.integers(0, 2, (7, 4, 4)).astype(np.uint8)
CASES, POSITIONS = ["a", "a", "a", "b", "b", "c", "c"], [0, 1, 2, 5, 9, 0, 1]
PATIENTS = ["x", "x", "x", "y", "y", "x", "x"]


def _found(*, smooths: bool, batch_size: int) -> dict[str, ProbabilityHistogram]:
    histograms = CaseHistograms(smooths=smooths)
    for start in range(0, len(CASES), batch_size):
        part = slice(start, start + batch_size)
        padding = np.full((batch_size - len(CASES[part]), 4, 4), 9, np.uint8)
        padded = (np.concatenate([values[part], padding]) for values in (PROBABILITY, MASKS))
        histograms.add(CASES[part], POSITIONS[part], PATIENTS[part], *padded)
    histograms.close_case()
    return histograms.of_patients


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("smooths", [True, False])
def test_a_case_is_smoothed_as_a_whole_in_any_batches(batch_size: int, smooths: bool) -> None:
    """Wherever batches end, a patient's histogram is that of their whole cases; padding and gaps do not count."""
    found = _found(smooths=smooths, batch_size=batch_size)
    expected = {"x": ProbabilityHistogram.empty(), "y": ProbabilityHistogram.empty()}
    for case, patient in (("a", "x"), ("b", "y"), ("c", "x")):
        own = [index for index, of in enumerate(CASES) if of == case]
        positions = [POSITIONS[index] for index in own]
        probability = smooth_along_z(PROBABILITY[own], positions) if smooths else PROBABILITY[own]
        expected[patient] += probability_histogram(probability, MASKS[own])
    assert found.keys() == expected.keys()
    for patient, histogram in expected.items():
        np.testing.assert_array_equal(found[patient].lesion, histogram.lesion)
        np.testing.assert_array_equal(found[patient].healthy, histogram.healthy)


def test_false_lesions_are_counted_per_case_where_that_is_asked_for() -> None:
    """A patient of two cases has the sum of both, of the probabilities as they are thresholded; else none."""
    histograms = CaseHistograms(smooths=True, counts_lesions=True)
    histograms.add(CASES, POSITIONS, PATIENTS, PROBABILITY, MASKS)
    histograms.close_case()
    cases = [(smooth_along_z(PROBABILITY[own], POSITIONS[own]), MASKS[own]) for own in (slice(3), slice(5, 7))]
    expected = [FalseLesions.of_scan(*case) for case in cases]
    found = histograms.of_patients["x"].false_lesions
    assert found is not None
    assert found.n_scans == 2
    np.testing.assert_array_equal(found.by_level, expected[0].by_level + expected[1].by_level)
    assert _found(smooths=True, batch_size=3)["x"].false_lesions is None


def test_samples_of_quality_are_of_the_smoothed_slices_with_lesion() -> None:
    """A slice without lesion is no sample; patients are those of the slices, in their order."""
    masks = MASKS.copy()
    masks[[1, 4]] = 0
    qualities = CaseQualities(smooths=True)
    for start in (0, 4):
        part = slice(start, start + 4)
        images = 255 - PROBABILITY[part]
        qualities.add(CASES[part], POSITIONS[part], PATIENTS[part], PROBABILITY[part], masks[part], images)
    qualities.close_case()
    found = qualities.samples
    assert found.patients == ("x", "x", "y", "x", "x")
    smooth = smooth_along_z(PROBABILITY[:3], POSITIONS[:3])
    np.testing.assert_array_equal(found.values[1], sample_slice(smooth[2], 255 - PROBABILITY[2], None, masks[2]))


def test_small_lesions_of_a_patient_are_those_of_the_smoothed_slices() -> None:
    """Two cases of one patient add up, each smoothed by itself."""
    small = CaseSmallLesions(smooths=True)
    for start in (0, 4):
        part = slice(start, start + 4)
        small.add(CASES[part], POSITIONS[part], PATIENTS[part], PROBABILITY[part], MASKS[part])
    small.close_case()
    cases = [(smooth_along_z(PROBABILITY[own], POSITIONS[own]), MASKS[own]) for own in (slice(3), slice(5, 7))]
    slices = [SmallLesions.of_slice(*pixels) for case in cases for pixels in zip(*case, strict=True)]
    expected = functools.reduce(operator.add, slices)
    np.testing.assert_array_equal(small.of_patients["x"].n_right, expected.n_right)
    np.testing.assert_array_equal(small.of_patients["x"].n_false, expected.n_false)
    assert expected.n_false.any()


def test_without_slices_there_is_nobody() -> None:
    """Closing twice, or without slices, adds nothing."""
    histograms = CaseHistograms(smooths=True)
    histograms.close_case()
    assert histograms.of_patients == {}
