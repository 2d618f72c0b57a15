import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.learning_rate import Plateau, warmup_cosine


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.01), (1, 0.02), (2, 0.02), (7, 0.01), (12, 0.0), (50, 0.0)],
)
def test_rate_warms_up_and_falls_like_a_cosine(step: int, rate: float) -> None:
    """Three epochs of four steps: two steps up, then half a cosine over ten, half-way down at its middle, then zero."""
    assert warmup_cosine(step, n_steps=12, steps_per_epoch=4, peak=0.02) == pytest.approx(rate, abs=1e-12)


def test_epoch_of_one_step_has_a_warm_up_of_one_step() -> None:
    """Half of one step rounds to none; the first step is taken at the peak all the same."""
    assert warmup_cosine(0, n_steps=1, steps_per_epoch=1, peak=1.0) == 1.0


@given(n_epochs=st.integers(1, 20), steps_per_epoch=st.integers(1, 50), peak=st.floats(1e-6, 1))
def test_rate_rises_to_the_peak_once_and_then_only_falls(n_epochs: int, steps_per_epoch: int, peak: float) -> None:
    """Never zero while training, never above the peak, reached after half an epoch, and no restart."""
    n_steps = n_epochs * steps_per_epoch
    rates = [
        warmup_cosine(step, n_steps=n_steps, steps_per_epoch=steps_per_epoch, peak=peak) for step in range(n_steps)
    ]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(peak)
    assert min(rates) > 0
    assert top <= max(0, round(steps_per_epoch / 2))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_plateau_is_stuck_when_patience_runs_out() -> None:
    """Patience of 2: two epochs that are no better; an equal value is no better."""
    plateau = Plateau(patience=2)
    assert [plateau.is_stuck_at(value) for value in (3.0, 2.0, 2.0, 2.5)] == [False, False, False, True]


def test_plateau_counts_anew_after_a_better_value() -> None:
    """A better epoch in between forgives the bad ones before it."""
    plateau = Plateau(patience=2)
    assert [plateau.is_stuck_at(value) for value in (3.0, 3.5, 2.9, 3.5, 3.5)] == [False, False, False, False, True]


def test_plateau_counts_anew_after_it_was_stuck_and_keeps_the_best() -> None:
    """After a reduction the patience starts again, against the best value so far."""
    plateau = Plateau(patience=2)
    answers = [plateau.is_stuck_at(value) for value in (1.0, 2.0, 2.0, 1.5, 1.5)]
    assert answers == [False, False, True, False, True]
    assert plateau.best == 1.0


def test_a_value_that_is_no_number_is_no_better() -> None:
    """A diverged epoch counts against the patience and does not become the best."""
    plateau = Plateau(patience=1)
    assert plateau.is_stuck_at(float("nan"))
    assert not plateau.is_stuck_at(5.0)
    assert plateau.is_stuck_at(float("nan"))
    assert plateau.best == 5.0
