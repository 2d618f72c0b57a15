"""GPU steps: tasks that hold a slot of Prefect's limit, and log which runs hold the slots while they wait."""

import contextvars
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

import httpx
from prefect import task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterId,
    TaskRunFilterState,
    TaskRunFilterStateType,
    TaskRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.logging import get_run_logger

from tasks.core.plural import counted

P = ParamSpec("P")
R = TypeVar("R")

GPU_TAG: Final = "lesions-gpu"
"""Tag of steps that hold GPUs; `infra/provision.py` limits how many run at once."""

GPU_LIMIT: Final = f"tag:{GPU_TAG}"
"""Name of the limit among Prefect's global concurrency limits."""

REPORT_EVERY_S: Final = 60.0

_BEGUN: contextvars.ContextVar[threading.Event] = contextvars.ContextVar("begun")


def gpu_step(
    *, name: str, report_every_s: float = REPORT_EVERY_S, **options: Any
) -> Callable[[Callable[P, R]], Callable[P, R]]:  # Any: further keywords of prefect.task
    """Make a Prefect task of a function that runs while it holds a GPU slot.

    Prefect waits for the slot before it calls the function and logs nothing; a thread of the flow logs the wait.

    Args:
        name: Name of the step.
        report_every_s: Seconds between log lines of a waiting step.
        options: Options of the task.
    """

    def make(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def body(*args: P.args, **kwargs: P.kwargs) -> R:
            _BEGUN.get().set()
            return function(*args, **kwargs)

        step = task(name=name, tags={GPU_TAG}, **options)(body)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with _waiting_reported(name, report_every_s):
                return step(*args, **kwargs)

        return call

    return make


@contextmanager
def _waiting_reported(step: str, every_s: float) -> Iterator[None]:
    """Log from a thread which runs hold the slots, until the step's function is called or the body ends."""
    begun, logger = threading.Event(), get_run_logger()

    def report() -> None:
        while not begun.wait(every_s):
            _report(step, logger)

    token = _BEGUN.set(begun)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(report,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        begun.set()
        thread.join()
        _BEGUN.reset(token)


def _report(step: str, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:  # Any: prefect's logger
    try:
        with get_client(sync_client=True) as client:
            sentence = taken_slots(client)
    except (httpx.HTTPError, PrefectException) as err:  # a lost log line must not stop the wait
        sentence = f"the Prefect server did not return which runs hold them ({type(err).__name__})"
    if sentence:
        logger.info("%s: waits for a slot of %s; %s", step, GPU_TAG, sentence)


def taken_slots(client: SyncPrefectClient) -> str | None:
    """Return a sentence with the holders of the GPU slots; None without a limit, or while a slot is free."""
    try:
        limit = client.read_global_concurrency_limit_by_name(GPU_LIMIT)
    except ObjectNotFound:
        return None
    if limit.active_slots < limit.limit:
        return None
    held = holders(client)
    by = ", ".join(_flow_runs(client, held)) or "no run"
    sentence = f"{limit.active_slots} of {counted(limit.limit, 'slot')} taken, by {by}"
    n_lost = limit.active_slots - len(held)
    return f"{sentence}; {n_lost} held by nobody: `python -m infra.provision` releases them" if n_lost > 0 else sentence


def holders(client: SyncPrefectClient) -> set[UUID]:
    """Return the ids of the task runs that hold a GPU slot.

    These are the task runs with a lease in Prefect, and the running ones of running flow runs: a server that keeps
    leases in memory loses them at a restart, and a step that waits for a slot is not running yet.
    """
    leased = client.read_concurrency_limit_by_tag(GPU_TAG).active_slots
    alive = [StateType.RUNNING, StateType.CANCELLING]
    running = client.read_task_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=alive))),
        task_run_filter=TaskRunFilter(
            tags=TaskRunFilterTags(all_=[GPU_TAG]), state=TaskRunFilterState(type=TaskRunFilterStateType(any_=alive))
        ),
    )
    return {*leased, *(run.id for run in running)}


def _flow_runs(client: SyncPrefectClient, task_runs: set[UUID]) -> list[str]:
    """Return the names of the flow runs of some task runs."""
    if not task_runs:
        return []
    found = client.read_task_runs(task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=list(task_runs))))
    of = [run.flow_run_id for run in found if run.flow_run_id]
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=of))) if of else []
    return sorted(f"flow run {run.name}" for run in runs)
