import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.calibration import FOREGROUND_LEVEL, N_BINS, Reliability, calibration_of
from tasks.core.probability_histogram import ProbabilityHistogram, probability_histogram

PIXELS = st.tuples(hnp.arrays(np.uint8, 40), hnp.arrays(np.uint8, 40, elements=st.integers(0, 1)))


@given(PIXELS)
def test_error_is_that_of_a_loop_over_pixels(pixels: tuple[np.ndarray, np.ndarray]) -> None:
    """Pixel by pixel and bin by bin, over all of them and over those that may be lesion."""
    probability, reference = pixels
    histogram = probability_histogram(probability, reference)
    for from_level, name in ((0, "ece"), (FOREGROUND_LEVEL, "ece_foreground")):
        kept = probability >= from_level
        gaps = 0.0
        for number in range(N_BINS):
            chosen = kept & (np.floor(probability / 256 * N_BINS) == number)
            if chosen.any():
                gaps += chosen.sum() * abs(probability[chosen].mean() / 255 - reference[chosen].mean())
        expected = gaps / kept.sum() if kept.any() else None
        assert calibration_of(histogram)[name] == (None if expected is None else pytest.approx(expected))


def test_a_model_that_says_what_is_true_has_no_error() -> None:
    """One fifth of the pixels at 0.2 are lesion, and all of those at 1."""
    histogram = ProbabilityHistogram.empty()
    histogram.lesion[[51, 255]] = 20, 30
    histogram.healthy[51] = 80
    found = calibration_of(histogram)
    assert found["ece"] == found["ece_foreground"] == pytest.approx(0)
    assert [row["n_pixels"] for row in found["bins"]] == [0, 100, 0, 0, 0, 0, 0, 0, 0, 30]
    assert found["bins"][0] == {"n_pixels": 0, "probability": None, "lesion_fraction": None}


def test_certain_background_hides_an_error_among_all_pixels() -> None:
    """A model that is twice too sure of its lesions: 0.4 among what it may see, next to nothing over all pixels."""
    histogram = ProbabilityHistogram.empty()
    histogram.lesion[204], histogram.healthy[204] = 40, 60
    histogram.healthy[0] = 99_900
    found = calibration_of(histogram)
    assert found["ece_foreground"] == pytest.approx(0.4)
    assert found["ece"] == pytest.approx(0.0004)


def test_without_pixels_there_is_no_error() -> None:
    """Nothing to judge by is None."""
    assert Reliability.of(ProbabilityHistogram.empty()).expected_error is None
