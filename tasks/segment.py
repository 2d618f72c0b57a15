"""Step: segment new scans."""

from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from tasks.core.config import ComputeConfig, SegmentationConfig
from tasks.core.records import ScanRow, SegmentationRef
from tasks.core.reports import MAX_ROWS, failures_markdown
from tasks.core.requests import SegmentRequest
from tasks.engine import cluster
from tasks.engine.steps.segment import SCANS_FILE
from tasks.engine.steps.segment import segment as segment_collection
from tasks.io import storage
from tasks.io.tables import from_parquet
from tasks.narrate import narrated
from tasks.retries import STORAGE_RETRIES


@task(name="segment", **STORAGE_RETRIES)
def segment(
    model_uri: str,
    scans_uri: str,
    output_uri: str,
    *,
    segmentation: SegmentationConfig,
    compute: ComputeConfig,
    run_id: str,
) -> SegmentationRef:
    """Segment every scan that is new, publish masks, previews, table, report and manifest."""
    request = SegmentRequest(
        model_uri=model_uri, scans_uri=scans_uri, output_uri=output_uri, segmentation=segmentation, run_id=run_id
    )
    with narrated(), cluster.session(compute):
        ref = segment_collection(request)
    rows = from_parquet(ScanRow, storage.read_bytes(storage.join(output_uri, SCANS_FILE)))
    failed = [row for row in rows if row.status == "failed"]
    create_table_artifact([dict(ref.counts)], key="segmentation", description="Scans by status.")
    create_markdown_artifact(failures_markdown("Scans set aside", failed, n_all=len(rows)), key="segmentation-failures")
    named = [row.model_dump(include={"scan_id", "error_code", "error"}) for row in failed[:MAX_ROWS]]
    create_table_artifact(
        named, key="segmentation-failed-scans", description=f"Each of the {len(failed)} failed scans."
    )
    return ref


def new_run_id() -> str:
    """Return the identity of this run; later runs sort after earlier ones, as the ledger needs."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z-{(flow_run.id or 'local')[:8]}"
