"""Room for a training's workers is known in a stated time, and never waited for without a word."""

import pytest

from tasks.core.config.learning import TrainingConfig
from tasks.core.errors import ClusterError
from tasks.engine.cluster import capacity
from tasks.engine.cluster.capacity import n_at_once, wait_for_workers

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

BRIEFLY = {"batch_size": 8, "node_wait_minutes": 0.01}
N_HELD = 2  # of the session's four CPUs, two are for the slices


@pytest.fixture(autouse=True)
def _shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is free at once be known to be so in half the time: most of these tests wait for what is not."""
    monkeypatch.setattr(capacity, "AT_ONCE_S", 1.0)


def test_room_for_all_is_not_waited_for() -> None:
    """Where the cluster holds every worker, nothing is reported."""
    reports: list[str] = []
    assert wait_for_workers(TrainingConfig(num_workers=N_HELD), fewest=N_HELD, report=reports.append) == N_HELD
    assert not reports


def test_workers_never_take_all_there_is() -> None:
    """Without processors for their slices they would wait for ever."""
    with pytest.raises(ClusterError, match="beside CPUs for their slices"):
        wait_for_workers(TrainingConfig(num_workers=3, **BRIEFLY | {"batch_size": 9}), fewest=3)


def test_too_few_to_begin_with_is_an_error_that_says_what_was_missed() -> None:
    """A training begins with what was asked for, or ends after the stated wait."""
    reports: list[str] = []
    with pytest.raises(ClusterError, match="no capacity for 8 training workers, each with 1 CPU, beside"):
        wait_for_workers(TrainingConfig(num_workers=8, **BRIEFLY), fewest=8, report=reports.append)
    assert len(reports) == 1


def test_fewer_go_on_with_even_shares_of_a_batch() -> None:
    """Once begun, a training takes what there is: of eight slices a batch two workers, of nine one."""
    assert wait_for_workers(TrainingConfig(num_workers=8, **BRIEFLY), fewest=1) == 2
    assert wait_for_workers(TrainingConfig(num_workers=9, **BRIEFLY | {"batch_size": 9}), fewest=1) == 1


def test_a_gpu_that_is_not_there_is_named() -> None:
    """Workers on GPUs are not put on CPUs."""
    with pytest.raises(ClusterError, match="no capacity for 1 training worker, each with 16 GPUs"):
        wait_for_workers(TrainingConfig(gpus_per_worker=16, batch_size=16, node_wait_minutes=0.01), fewest=1)


def test_what_others_hold_is_no_room() -> None:
    """Of two trainings on one cluster the second does not count on the first one's processors."""
    from ray.util.placement_group import placement_group, remove_placement_group

    others = placement_group([{"CPU": 1}] * N_HELD)
    assert others.wait(10)
    try:
        with pytest.raises(ClusterError, match="no capacity for 2 training workers"):
            wait_for_workers(TrainingConfig(num_workers=N_HELD, **BRIEFLY), fewest=N_HELD)
    finally:
        remove_placement_group(others)


def test_trainings_go_side_by_side_as_far_as_each_has_processors_for_its_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one processor for the slices of each, four hold two trainings of one worker, else one at a time."""
    monkeypatch.setattr(capacity, "SPARE_CPUS", 1)
    assert [n_at_once(TrainingConfig(num_workers=n)) for n in (1, 2, 8)] == [2, 1, 1]
