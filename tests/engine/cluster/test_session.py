import pytest
import ray

from tasks.core.config.compute import ComputeConfig
from tasks.core.errors import ClusterError, DataError, ModelError
from tasks.engine.cluster.session import session

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@ray.remote
def _refuse() -> None:
    raise ModelError("precision is float16, but this worker has no GPU.")


@ray.remote
def _set_aside() -> None:
    raise DataError("unreadable", "Image is damaged.")


@ray.remote
def _bug() -> None:
    raise ZeroDivisionError("a bug")


@ray.remote(max_retries=0)
def _die() -> None:
    import os

    os._exit(1)


def test_session_leaves_a_running_ray_alone() -> None:
    """A session inside another neither starts nor stops Ray."""
    with session(ComputeConfig()):
        pass
    assert ray.is_initialized()


def test_gpus_this_machine_lacks_are_refused_at_once() -> None:
    """A Ray of this machine never gets more GPUs, so that nothing would be worth waiting for."""
    with (
        pytest.raises(ClusterError, match=r"100 GPUs asked for, \d found on this machine"),
        session(ComputeConfig(), n_gpus=100),
    ):
        pass


def test_what_a_worker_refuses_reaches_the_user_as_one_sentence() -> None:
    """Our own error comes out of Ray's wrapping as it was raised, without a traceback in its text."""
    with pytest.raises(ModelError) as caught, session(ComputeConfig()):
        ray.get(_refuse.remote())
    assert str(caught.value) == "precision is float16, but this worker has no GPU."


def test_code_of_a_worker_error_survives() -> None:
    """A typed code is still there on this side of the process border."""
    with pytest.raises(DataError) as caught, session(ComputeConfig()):
        ray.get(_set_aside.remote())
    assert caught.value.code == "unreadable"


def test_bug_keeps_its_traceback() -> None:
    """What is not ours is raised as Ray gives it, with the worker's traceback."""
    with pytest.raises(ZeroDivisionError, match="_bug"), session(ComputeConfig()):
        ray.get(_bug.remote())


def test_lost_worker_is_a_cluster_error() -> None:
    """A worker process that dies is the cluster's fault, which may pass."""
    with pytest.raises(ClusterError, match="lost the workers"), session(ComputeConfig()):
        ray.get(_die.remote())
