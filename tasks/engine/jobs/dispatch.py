"""Dispatch of a step to this process or to a job on a cluster, with the same request, handle and errors."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pkgutil import resolve_name
from typing import Final, TypedDict, TypeVar

from tasks.core.catalog import StepName
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.learning import TrainingConfig
from tasks.core.record import Record
from tasks.core.step_inputs import EvaluateRequest, PrepareRequest, SegmentRequest, TrainRequest
from tasks.core.throughput import AnyProgress, ReportProgress
from tasks.engine.cluster.session import session, started_ahead

STEPS: Final[dict[StepName, tuple[str, type[Record]]]] = {
    "prepare": ("tasks.engine.steps.prepare:prepare", PrepareRequest),
    "train": ("tasks.engine.steps.train:train", TrainRequest),
    "evaluate": ("tasks.engine.steps.evaluate:evaluate", EvaluateRequest),
    "segment": ("tasks.engine.steps.segment:segment", SegmentRequest),
}
"""Import path and type of the request of each step."""

REPORT_EVERY_S: Final = 10.0
Handle = TypeVar("Handle", bound=Record)


class _Ray(TypedDict):
    n_reserved_cpus: int
    has_dashboard: bool


def run_step(
    step: StepName,
    request: Record,
    handle_type: type[Handle],
    *,
    compute: ComputeConfig,
    output_uri: str,
    flow_run_id: str,
    report_progress: ReportProgress = lambda _: None,
) -> Handle:
    """Run a step and return its handle.

    Args:
        step: Name of the step.
        request: Input of the step.
        handle_type: Type of the handle it returns.
        compute: This machine or a cluster.
        output_uri: Output of the step; the files of its job lie there while it runs.
        flow_run_id: Id of the flow run; a restarted run finds its job by it.
        report_progress: Called with the progress.

    Raises:
        ClusterError: If the cluster is lost.
        LesionWorkflowError: Any error the step raises.
    """
    if compute.is_remote:
        from tasks.engine.jobs import client  # here, because only remote runs need Ray's job client

        job = client.RayJob(f"{flow_run_id}-{step}", output_uri, compute)
        return handle_type.model_validate(job.run(step, request, report_progress))
    handle = call_step(step, request, compute=compute, report_progress=report_progress)
    return handle_type.model_validate(handle.model_dump())


def call_step(step: StepName, request: Record, *, compute: ComputeConfig, report_progress: ReportProgress) -> Record:
    """Run a step of this process in a Ray session and return its handle."""
    function: Callable[..., Record] = resolve_name(STEPS[step][0])
    training = request.training if isinstance(request, TrainRequest) else None
    needs = _ray_of(step, training)
    # a segmentation also runs with fewer GPUs than asked for, or none
    with session(compute, n_gpus=training.n_gpus if training else 0, **needs):
        return function(request, report_progress=report_progress)


def ray_ahead(step: StepName, compute: ComputeConfig, training: TrainingConfig) -> AbstractContextManager[None]:
    """Start Ray for a step that the body will run, if Ray has to run on this machine.

    Args:
        step: Name of the step.
        compute: This machine or a cluster.
        training: Parameters of the training, if the step is one.
    """
    return started_ahead(compute, **_ray_of(step, training if step == "train" else None))


def at_intervals(
    report_progress: ReportProgress, *, every_s: float = REPORT_EVERY_S, is_first_due: bool = True
) -> ReportProgress:
    """Return a callback that passes on new progress at intervals, and at the end.

    Args:
        report_progress: Receives the progress.
        every_s: Interval, seconds.
        is_first_due: Whether the first progress is passed on at once.
    """
    reported: AnyProgress | None = None
    reported_at = -math.inf if is_first_due else time.monotonic()

    def report(progress: AnyProgress) -> None:
        nonlocal reported, reported_at
        is_end = progress.fraction >= 1 and (reported is None or reported.fraction < 1)
        is_due = is_end or time.monotonic() - reported_at >= every_s
        if is_due and progress != reported:
            reported, reported_at = progress, time.monotonic()
            report_progress(progress)

    return report


def _ray_of(step: StepName, training: TrainingConfig | None) -> _Ray:
    """Return what a Ray of this machine has to offer a step, whose actors hold CPUs while it runs."""
    return {
        "n_reserved_cpus": training.num_workers if training else int(step == "segment"),
        "has_dashboard": step == "train",
    }
