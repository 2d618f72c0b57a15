"""How many workers a training gets is known in a stated time, and never waited for without a word."""

import pytest

from tasks.core.errors import ClusterError
from tasks.core.learning import TrainingConfig
from tasks.engine.room import n_workers_held, wait_for_workers

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

AT_ONCE = {"batch_size": 8, "node_wait_minutes": 0.01}
N_HELD = 2  # of the session's four CPUs, two are for the slices


def test_room_for_all_is_not_waited_for() -> None:
    """Where the cluster holds every worker, nobody is told anything."""
    told: list[str] = []
    training = TrainingConfig(num_workers=N_HELD)
    assert wait_for_workers(training, fewest=N_HELD, n_trainings=1, tell=told.append) == N_HELD
    assert not told


def test_too_few_to_begin_with_is_an_error_that_says_how_many_there_are() -> None:
    """A training begins with what was asked for, or ends after the stated wait."""
    told: list[str] = []
    with pytest.raises(ClusterError, match="room for 2 of 8 training workers"):
        wait_for_workers(TrainingConfig(num_workers=8, **AT_ONCE), fewest=8, n_trainings=1, tell=told.append)
    assert len(told) == 1


def test_fewer_go_on_with_even_shares_of_a_batch() -> None:
    """Once begun, a training takes what there is."""
    assert wait_for_workers(TrainingConfig(num_workers=4, **AT_ONCE), fewest=1, n_trainings=1) == N_HELD


def test_a_gpu_that_is_not_there_is_named() -> None:
    """Workers on GPUs are not put on CPUs."""
    with pytest.raises(ClusterError, match="room for 0 of 1 training worker, each with 1 GPU"):
        wait_for_workers(TrainingConfig(gpus_per_worker=1, **AT_ONCE), fewest=1, n_trainings=1)


def test_trainings_that_share_a_cluster_do_not_count_on_each_others_processors() -> None:
    """Half of four CPUs is just enough for a training's slices, and for no worker."""
    assert n_workers_held(TrainingConfig(), n_trainings=2) == 0
