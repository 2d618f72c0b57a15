"""Retry policy of the Prefect tasks: after faults that can pass, never after bad data."""

from typing import Any, Final

from tasks.core.errors import ClusterError, StorageError


def _can_pass(_task: object, _run: object, state: Any) -> bool:  # Any: prefect's State, generic over results
    """Return whether a retry may help."""
    err = state.result(raise_on_failure=False)
    return isinstance(err, ClusterError | StorageError) and err.can_pass


STORAGE_RETRIES: Final[dict[str, Any]] = {  # Any: keywords of prefect.task
    "retries": 2,
    "retry_delay_seconds": [5, 30],
    "retry_condition_fn": _can_pass,
}
