"""A step, here or as a job of a cluster: callers see the same request, the same reference and the same errors."""

import math
import time
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any, Final, TypeVar

from tasks.core.catalog import StepName
from tasks.core.config.compute import ComputeConfig
from tasks.core.record import Record
from tasks.core.step_inputs import EvaluateRequest, PrepareRequest, SegmentRequest, TrainRequest
from tasks.core.throughput import Progress, Tell
from tasks.engine.cluster.session import session

STEPS: Final[dict[StepName, tuple[str, type[Record]]]] = {
    "prepare": ("tasks.engine.steps.prepare:prepare", PrepareRequest),
    "train": ("tasks.engine.steps.train:train", TrainRequest),
    "evaluate": ("tasks.engine.steps.evaluate:evaluate", EvaluateRequest),
    "segment": ("tasks.engine.steps.segment:segment", SegmentRequest),
}
"""Where each step is imported from when it is called, and what it is asked."""

TELL_EVERY_S: Final = 10.0
HAS_PROGRESS: Final[frozenset[StepName]] = frozenset({"segment"})
Ref = TypeVar("Ref", bound=Record)


def run_step(
    step: StepName,
    request: Record,
    handle_type: type[Ref],
    *,
    compute: ComputeConfig,
    output_uri: str,
    flow_run_id: str,
    tell: Tell = lambda _: None,
) -> Ref:
    """Run a step and return its reference.

    Args:
        step: Which.
        request: What it is asked.
        handle_type: What it gives back.
        compute: Where.
        output_uri: What it writes; a job's files lie below while it runs.
        flow_run_id: Of the run that wants it; its job is found again by it.
        tell: Called with the progress, by steps that have one.

    Raises:
        ClusterError: If the cluster is lost.
        LesionWorkflowError: What the step raises.
    """
    if compute.is_remote:
        from tasks.engine.jobs import client  # here, because only remote runs need Ray's job client

        job = client.RayJob(f"{flow_run_id}-{step}", output_uri, compute)
        return handle_type.model_validate(job.run(step, request, tell))
    return handle_type.model_validate(call_step(step, request, compute=compute, tell=tell).model_dump())


def call_step(step: StepName, request: Record, *, compute: ComputeConfig, tell: Tell) -> Record:
    """Run a step in a Ray session of this process."""
    function: Callable[..., Record] = resolve_name(STEPS[step][0])
    further: dict[str, Any] = {"tell": tell} if step in HAS_PROGRESS else {}  # Any: keywords of the step
    with session(
        compute, n_reserved_cpus=_n_reserved_cpus(request), n_gpus=_n_gpus(request), has_dashboard=step == "train"
    ):
        return function(request, **further)


def seldom(tell: Tell) -> Tell:
    """Return what passes a progress on that is new, at once, then at most every ten seconds, and when all is done."""
    told: Progress | None = None
    told_at = -math.inf

    def tell_seldom(progress: Progress) -> None:
        nonlocal told, told_at
        is_due = progress.fraction >= 1 or time.monotonic() - told_at >= TELL_EVERY_S
        if is_due and progress != told:
            told, told_at = progress, time.monotonic()
            tell(progress)

    return tell_seldom


def _n_reserved_cpus(request: Record) -> int:
    """Return how many logical CPUs actors of the step hold throughout."""
    if isinstance(request, TrainRequest):
        return request.training.num_workers
    return int(isinstance(request, SegmentRequest))


def _n_gpus(request: Record) -> int:
    """Return how many GPUs the step cannot do without; a segmentation takes what there is."""
    return request.training.n_gpus if isinstance(request, TrainRequest) else 0
