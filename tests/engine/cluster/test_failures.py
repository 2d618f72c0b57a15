"""What is a lost worker, and what a bug: with the exceptions that Ray Train wraps them in."""

import os

import pytest
import ray
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError
from ray.train import TrainingFailedError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from tasks.core.errors import ModelError, StorageError
from tasks.engine.cluster.failures import can_pass, reason
from tasks.engine.cluster.session import own_error


class UnavailableError(Exception):
    """Named as TensorFlow's, which this process does not load."""


def _died() -> Exception:
    return WorkerHealthCheckFailedError("gone", failure=RayActorError())


def _raised(err: BaseException) -> Exception:
    return UserExceptionWithTraceback(err, "Traceback …")


def _failed(*failures: Exception) -> WorkerGroupError:
    return WorkerGroupError("failed", dict(enumerate(failures)))


@pytest.mark.parametrize(
    "err",
    [
        _failed(_died()),
        _failed(_raised(UnavailableError("peer is gone")), _died()),
        _failed(_raised(UnavailableError("peer is gone"))),
        ControllerError(RayActorError()),
    ],
    ids=["a worker died", "and another noticed", "one noticed", "the controller lost an actor"],
)
def test_lost_workers_are_started_again(err: TrainingFailedError) -> None:
    """What may go better on other workers is tried again."""
    assert can_pass(err)


@pytest.mark.parametrize(
    "err",
    [
        _failed(_raised(ZeroDivisionError("a bug"))),
        _failed(_raised(RayTaskError("augment", "Traceback …", ValueError("a bug in a task")))),
        _failed(_raised(ModelError("The weights do not fit."))),
        _failed(_raised(UnavailableError("peer is gone")), _raised(ModelError("The weights do not fit."))),
        ControllerError(KeyError("a bug")),
    ],
    ids=["a bug", "a bug in a task", "ours", "ours behind another's", "a bug of the controller"],
)
def test_what_would_fail_again_is_not_tried_again(err: TrainingFailedError) -> None:
    """A bug, or what our own code found wrong, ends the training at once."""
    assert not can_pass(err)


def test_our_error_is_found_behind_any_worker() -> None:
    """The second worker's sentence reaches the user although the first only lost its peer."""
    ours = StorageError("The disk is full.")
    assert own_error(_failed(_raised(UnavailableError("peer is gone")), _raised(ours))) is ours


def test_the_reason_names_what_each_worker_died_of() -> None:
    """Not Ray Train's wrapping of it."""
    assert reason(_failed(_died(), _raised(UnavailableError("gone")))) == "RayActorError, UnavailableError"


@pytest.mark.ray
def test_the_reason_says_how_a_process_ended(ray_session: None) -> None:
    """Who reads the log in the morning learns whether it was killed, without ids and addresses."""

    @ray.remote(num_cpus=0)
    class Dying:
        def die(self) -> None:
            os._exit(3)

    with pytest.raises(ActorDiedError) as death:
        ray.get(Dying.remote().die.remote())
    said = reason(_failed(WorkerHealthCheckFailedError("gone", failure=death.value)))
    assert said.startswith("ActorDiedError: The actor is dead because its worker process has died.")
    assert "Worker exit type: SYSTEM_ERROR" in said
    assert len(said) < 250
    assert not any(hidden in said for hidden in ("\t", "actor_id", "127.0.0.1"))
