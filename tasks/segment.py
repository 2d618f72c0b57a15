"""Prefect tasks that segment new scans, or plan a segmentation."""

import logging
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import httpx
from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from tasks.core.config.compute import ComputeConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.handles import SegmentationHandle, SegmentationPlan
from tasks.core.pages.artifacts import MAX_ROWS, plan_markdown
from tasks.core.pages.segmentation_summary import segmentation_markdown
from tasks.core.step_inputs import SegmentRequest
from tasks.core.throughput import AnyProgress, ReportProgress
from tasks.engine.jobs.dispatch import at_intervals, run_step
from tasks.engine.steps.plan import plan as plan_collection
from tasks.io.outputs import segmentations
from tasks.runtime.addresses import require_apart
from tasks.runtime.live_line import progress_reporter
from tasks.runtime.retries import STORAGE_RETRIES
from tasks.runtime.run_logging import flow_run_id, logging_to_prefect
from tasks.runtime.slots import gpu_step

logger = logging.getLogger(__name__)


@gpu_step(name="segment", **STORAGE_RETRIES)
def segment(request: SegmentRequest, *, compute: ComputeConfig) -> SegmentationHandle:
    """Segment every new scan, and publish masks, previews, table, report and manifest."""
    with logging_to_prefect():
        handle = run_step(
            "segment",
            request,
            SegmentationHandle,
            compute=compute,
            output_uri=request.output_uri,
            flow_run_id=flow_run_id(),
            report_progress=_progress_reporter(),
        )
    rows = segmentations.read_rows(request.output_uri)
    failed = [row for row in rows if row.status == "failed"]
    manifest = segmentations.find_manifest(request.output_uri)
    if manifest is not None:
        create_markdown_artifact(
            segmentation_markdown(manifest, rows, report_uri=segmentations.report_uri(request.output_uri)),
            key="segmentation",
            description="What became of the collection, and what is to be done.",
        )
    named = [row.model_dump(include={"scan_id", "error_code", "error"}) for row in failed[:MAX_ROWS]]
    create_table_artifact(named, key="segmentation-failed-scans", description="Rejected scans, one per row.")
    return handle


@task(name="plan-segmentation", **STORAGE_RETRIES)
def plan_segmentation(request: SegmentRequest) -> SegmentationPlan:
    """Return which scans a run would segment; write nothing to the output."""
    with logging_to_prefect():
        plan = plan_collection(request)
    create_markdown_artifact(plan_markdown(plan), key="segmentation-plan", description="Scans due in a run.")
    return plan


def segmentation_request(
    model_uri: str, scans_uri: str, output_uri: str, *, segmentation: SegmentationConfig, compute: ComputeConfig
) -> SegmentRequest:
    """Return the input of the segmentation step, for URIs with scheme.

    Raises:
        ConfigError: If scans and output lie in each other.
    """
    require_apart(scans_uri, output_uri)
    return SegmentRequest(
        model_uri=model_uri,
        scans_uri=scans_uri,
        output_uri=output_uri,
        segmentation=segmentation,
        # the ledger needs ids of later runs to sort after earlier ones
        run_id=f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z-{(flow_run.id or 'local')[:8]}",
        n_gpus=compute.gpus,
        price_per_node_hour=compute.price_per_node_hour,
    )


def _progress_reporter() -> ReportProgress:
    """Return a callback that shows the progress and updates one artifact, at intervals."""
    created = create_progress_artifact(0.0, key="segmentation-progress", description="starting")
    artifact_id = cast("UUID", created)  # by Prefect's types it may be a coroutine, as it is inside an event loop

    def update_artifact(progress: AnyProgress) -> None:
        try:
            update_progress_artifact(artifact_id, 100 * progress.fraction, description=progress.sentence())
        except (httpx.HTTPError, PrefectException) as err:  # a lost progress report must not stop the run
            logger.warning("segment: Prefect did not take the progress, %s", type(err).__name__)

    show, update = progress_reporter("segment"), at_intervals(update_artifact)

    def report_progress(progress: AnyProgress) -> None:
        show(progress)
        update(progress)

    return report_progress
