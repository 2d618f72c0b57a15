import numpy as np
import pytest

from tasks.core.metrics import Counts
from tasks.stages.lung_scores import LungScore


def _row(*values: int) -> np.ndarray:
    return np.array([values], np.uint8)


def test_scores_by_hand() -> None:
    """Of four lung pixels three are found and one more; lesion inside the lung counts on each side."""
    score = LungScore.of_slice(
        _row(255, 255, 255, 0, 255, 0),
        _row(1, 1, 1, 1, 0, 0),
        prediction=_row(1, 1, 0, 0, 0, 1),
        reference=_row(1, 0, 0, 0, 0, 0),
    )
    assert score.counts == Counts(tp=3, fp=1, fn=1, tn=1)
    assert score.figures() == pytest.approx(
        {"lung_dice": 0.75, "lung_involvement": 0.5, "lung_involvement_reference": 0.25}
    )


def test_ratios_are_of_sums() -> None:
    """Over two slices pixels are added before they are divided."""
    full, none = _row(255, 255), _row(0, 0)
    one = LungScore.of_slice(full, _row(1, 1), prediction=_row(1, 1), reference=_row(0, 1))
    other = LungScore.of_slice(full, _row(1, 1), prediction=none, reference=none)
    assert (one + other).figures() == {
        "lung_dice": 1.0,
        "lung_involvement": 0.5,
        "lung_involvement_reference": 0.25,
    }


def test_without_any_lung_everything_is_undefined() -> None:
    """A patient without lung masks has no figures."""
    assert set(LungScore().figures().values()) == {None}
