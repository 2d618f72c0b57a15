import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tasks.core.intervals import bootstrap_interval, summary_of, t_interval


def _interval(values: list[float | None], seed: int = 0) -> tuple[float, float] | None:
    return bootstrap_interval(values, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.0, 1.0], (0.0, 1.0)),  # all three the 1: 1 resample in 27, more than 2.5 %
        ([0.0, 0.0, 0.0, 1.0], (0.0, 0.75)),  # four 1s: 0.4 %; three or more: 5.1 %
        ([0.7, 0.7, 0.7], (0.7, 0.7)),
    ],
)
def test_interval_is_the_percentile_bootstrap(values: list[float | None], expected: tuple[float, float]) -> None:
    """By hand, from the binomial probabilities of the resampled means."""
    assert _interval(values) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.6], [0.5, 0.6, None, None], [None] * 5])
def test_interval_needs_three_defined_values(values: list[float | None]) -> None:
    """Fewer than three patients give no interval."""
    assert _interval(values) is None


@given(st.lists(st.floats(0, 1), min_size=3, max_size=8))
def test_interval_lies_within_the_values_and_ignores_the_undefined(values: list[float]) -> None:
    """A mean cannot leave the range of its values; patients without Dice change nothing."""
    interval = _interval([*values])
    assert interval is not None
    low, high = interval
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert _interval([None, *values, None]) == interval


def test_interval_is_repeatable_and_draws_from_its_own_generator() -> None:
    """The same generator state gives the same interval, and the global one is not touched."""
    before = np.random.get_state(legacy=False)
    values: list[float | None] = [0.1, 0.4, 0.5, 0.9]
    assert _interval(values, seed=3) == _interval(values, seed=3)
    np.testing.assert_equal(np.random.get_state(legacy=False), before)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=8))
def test_t_interval_is_that_of_scipy(values: list[float]) -> None:
    """Student's interval of the mean, as scipy's own distribution gives it; undefined patients change nothing."""
    found = t_interval([None, *values])
    spread = np.std(values, ddof=1) / np.sqrt(len(values))
    if spread < 1e-12:
        assert found == pytest.approx((np.mean(values),) * 2)
    else:
        assert found == pytest.approx(stats.t.interval(0.95, len(values) - 1, np.mean(values), spread))


@given(st.lists(st.floats(0, 1), min_size=3, max_size=8))
def test_t_interval_stays_within_the_range_of_its_figure(values: list[float]) -> None:
    """Few patients who differ much reach the ends, not beyond."""
    found = t_interval(values, within=(0.0, 1.0))
    assert found is not None
    assert 0 <= found[0] <= found[1] <= 1
    assert t_interval([0.0, 0.5, 1.0], within=(0.0, 1.0)) == (0.0, 1.0)


def test_summary_holds_the_numbers_behind_it() -> None:
    """Mean, intervals and median of what is defined, and how many are not; of two patients no interval."""
    found = summary_of([0.2, None, 0.9, 0.4])
    assert (found["mean"], found["median"]) == (pytest.approx(0.5), 0.4)
    assert (found["n_defined"], found["n_undefined"]) == (3, 1)
    assert found["ci95"][0] < 0.5 < found["ci95"][1]
    assert found["t_ci95"][0] < found["ci95"][0]
    assert summary_of([0.2, 0.4, None])["ci95"] is summary_of([0.2, 0.4])["t_ci95"] is None
    assert summary_of([None])["mean"] is summary_of([])["median"] is None
