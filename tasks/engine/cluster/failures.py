"""Failures of a training: lost workers, after which a restart may help, or errors."""

import textwrap
from typing import Final

from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.train import TrainingFailedError

from tasks.engine.cluster.session import own_error

LOST_IN_TENSORFLOW: Final = {"UnavailableError", "AbortedError", "DeadlineExceededError", "InternalError"}
"""Errors of a collective in a worker after another one died."""

LONGEST_DETAIL: Final = 200
"""Characters shown of how a process ended; Ray goes on with a list of what it may have been."""


def can_pass(err: TrainingFailedError) -> bool:
    """Return whether a restart may help: a worker died or a collective broke, and there is no other error."""
    if own_error(err) is not None:
        return False
    failures = _failures(err)
    return not failures or any(_was_lost(failure) for failure in failures)


def reason(err: TrainingFailedError) -> str:
    """Return the errors by which workers were lost, each with how its process ended where Ray says so, as text."""
    return ", ".join(sorted({_named(failure) for failure in _failures(err)})) or type(err).__name__


def _named(failure: BaseException) -> str:
    """Return a failure's type, and of an actor that died what Ray says below its ids (ray 2.60: `exceptions.py`)."""
    lines = str(failure).splitlines()[1:] if isinstance(failure, ActorDiedError) else []
    detail = " ".join(line for line in lines if not line.startswith("\t"))
    name = type(failure).__name__
    return f"{name}: {textwrap.shorten(detail, LONGEST_DETAIL, placeholder=' …')}" if detail else name


def _failures(err: TrainingFailedError) -> list[BaseException]:
    """Return the error of each worker, or of Ray Train's controller, without Ray Train's wrapper."""
    found = list(getattr(err, "worker_failures", {}).values()) or [getattr(err, "controller_failure", None)]
    unwrapped = [getattr(failure, "health_check_failure", None) or failure for failure in found]
    return [getattr(failure, "_base_exc", failure) for failure in unwrapped if failure is not None]


def _was_lost(failure: BaseException) -> bool:
    """Return whether a worker died (by Ray) or lost another one (by TensorFlow); a bug in a task is neither."""
    if isinstance(failure, RayTaskError) and not isinstance(failure.cause, RayError):
        return False
    is_rays = type(failure).__module__.partition(".")[0] == "ray"
    return is_rays or type(failure).__name__ in LOST_IN_TENSORFLOW
