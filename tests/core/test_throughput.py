import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.throughput import Progress, StageSums, StepProgress, cost_per_1000


def test_steady_state_leaves_the_start_out() -> None:
    """Slices after the first chunk over the time since it: what loading a model takes does not count."""
    sums = StageSums()
    for now_s in (100.0, 101.0, 103.0):
        sums.add_predicted(0.5, 16, now_s)
    assert sums.slices_per_second == pytest.approx(32 / 3)
    assert sums.predict_seconds == 1.5


def test_one_chunk_has_no_steady_state() -> None:
    """A rate needs two points in time."""
    sums = StageSums()
    assert sums.slices_per_second is None
    sums.add_predicted(0.5, 16, 100.0)
    assert sums.slices_per_second is None


def test_cost_is_nodes_times_hours_times_price() -> None:
    """Two nodes at 3 an hour for half an hour over 500 scans: 6 a 1,000."""
    cost = cost_per_1000(1800, n_scans=500, n_nodes=2, price_per_node_hour=3.0)
    assert cost == pytest.approx(6.0)


@pytest.mark.parametrize(("n_scans", "price"), [(0, 3.0), (10, None)])
def test_cost_is_unknown_without_scans_or_price(n_scans: int, price: float | None) -> None:
    """Unknown is None, not zero."""
    assert cost_per_1000(10, n_scans=n_scans, n_nodes=1, price_per_node_hour=price) is None


def test_progress_says_how_long_it_will_take() -> None:
    """What is left goes at this run's own pace."""
    progress = Progress(n_scans=100, n_done=20, n_skipped=20, n_deferred=10, n_failed=10, n_slices=20, seconds=10.0)
    assert progress.fraction == 0.6
    assert progress.seconds_left == pytest.approx(20.0)
    assert progress.sentence() == (
        "60 of 100 scans: 20 done, 20 skipped, 10 deferred, 10 failed, 2.0 slices/s, 20 s left"
    )


def test_progress_before_the_first_scan_promises_nothing() -> None:
    """Without a pace there is no time left to tell."""
    progress = Progress(n_scans=100, n_done=0, n_skipped=0, n_failed=0, n_slices=0, seconds=0.0)
    assert progress.seconds_left is None
    assert progress.sentence().endswith("starting")


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_fraction_is_between_nothing_and_all(n_done: int, n_skipped: int, n_failed: int, n_left: int) -> None:
    """The fraction never leaves [0, 1], and is 1 exactly when nothing is left."""
    n_scans = n_done + n_skipped + n_failed + n_left
    progress = Progress(n_scans, n_done, n_skipped, n_failed, n_slices=n_done, seconds=1.0)
    assert 0 <= progress.fraction <= 1
    assert (progress.fraction == 1) == (n_left == 0)


@pytest.mark.parametrize(
    ("progress", "sentence"),
    [
        (StepProgress(100, n_done=0, seconds=0.0), "0 of 100 slices, starting"),
        (StepProgress(9, n_done=3, seconds=3.0, unit="pairs"), "3 of 9 pairs, 1.0 pairs/s, 6 s left"),
        (StepProgress(100, n_done=20, seconds=10.0, n_before=10), "20 of 100 slices, 1.0 slices/s, 80 s left"),
        (StepProgress(100, n_done=100, seconds=10.0), "100 of 100 slices, 10.0 slices/s, finished"),
        (
            StepProgress(9000, n_done=1000, seconds=600, place="epoch 1 of 9"),
            "epoch 1 of 9, 1,000 of 9,000 slices, 1.7 slices/s, 80 min left",
        ),
    ],
)
def test_step_progress_is_one_line(progress: StepProgress, sentence: str) -> None:
    """It has place, count, rate of this run and time left, and promises nothing before the first slice."""
    assert progress.sentence() == sentence


def test_a_step_without_slices_is_over() -> None:
    """Nothing to do is done, and a count above the plan is no more than all."""
    assert StepProgress(0, n_done=0, seconds=0.0).fraction == 1
    assert StepProgress(10, n_done=12, seconds=1.0).fraction == 1
