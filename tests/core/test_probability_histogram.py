import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.metrics import Counts, count_pixels, precision, recall
from tasks.core.probability_histogram import (
    CURVE_LEVELS,
    FalseLesions,
    ProbabilityHistogram,
    precision_recall_curve,
    probability_histogram,
)
from tests.core.histograms import histogram_of

PROBABILITIES = hnp.arrays(np.uint8, (5, 5))
REFERENCES = hnp.arrays(np.uint8, (5, 5), elements=st.integers(0, 1))


def test_histogram_counts_lesion_and_healthy_apart() -> None:
    """Pixels of a 2 x 2 slice land in the bins of their probabilities, on the side of the reference."""
    histogram = probability_histogram(np.array([[0, 255], [255, 7]], np.uint8), np.array([[0, 1], [0, 1]], np.uint8))
    expected = histogram_of(lesion={255: 1, 7: 1}, healthy={0: 1, 255: 1})
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
    histogram = histogram_of(lesion={200: 3, 50: 1}, healthy={100: 1, 0: 9})
    _, precisions, recalls = precision_recall_curve(histogram)
    assert (precisions[49], recalls[49]) == (pytest.approx(4 / 5), 1.0)
    assert (precisions[100], recalls[100]) == (1.0, 0.75)
    assert np.isnan(precisions[200])
    assert recalls[200] == 0
    assert histogram.counts_at(50) == Counts(tp=4, fp=1, fn=0, tn=9)


def test_false_lesions_are_counted_at_every_level_of_the_curve() -> None:
    """One at 0.45 beside a true one at 0.8, in two scans: false up to 0.4, and added up over both."""
    probability, reference = np.zeros((2, 3, 9, 20), np.uint8)
    probability[1, 2:5, 2:5], probability[1, 2:5, 12:15] = 204, 115
    reference[1, 2:5, 2:5] = 1
    one = FalseLesions.of_scan(probability, reference)
    assert one.by_level.tolist() == [int(level <= 115) for level in CURVE_LEVELS]
    histogram = ProbabilityHistogram(*np.zeros((2, 256), np.int64), false_lesions=one)
    both = histogram + ProbabilityHistogram.empty() + histogram
    assert both.false_lesions is not None
    assert both.false_lesions.n_scans == 2
    assert both.false_lesions.by_level.tolist() == (2 * one.by_level).tolist()
    assert (ProbabilityHistogram.empty() + ProbabilityHistogram.empty()).false_lesions is None
