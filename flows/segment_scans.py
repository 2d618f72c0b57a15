"""Flow that segments new scans."""

from prefect import flow

from tasks.core.config.compute import ComputeConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.handles import SegmentationHandle, SegmentationPlan
from tasks.io.outputs.ownership import require_ours
from tasks.runtime.addresses import locate
from tasks.runtime.cancellation import stop_jobs
from tasks.runtime.completeness import require_complete
from tasks.runtime.inputs import require_inputs
from tasks.runtime.run_names import segmentation_name
from tasks.segment import plan_segmentation, segment, segmentation_request


@flow(name="segment-scans", flow_run_name=segmentation_name, on_cancellation=[stop_jobs])
def segment_scans(
    model_uri: str,
    scans: str,
    output: str,
    *,
    segmentation: SegmentationConfig = SegmentationConfig(),
    compute: ComputeConfig = ComputeConfig(),
    dry_run: bool = False,
) -> SegmentationHandle | SegmentationPlan:
    """Segment every scan below a URI and publish masks, previews, scans.parquet, report.html and manifest.json.

    Running it again skips every scan whose content, model, parameters and mask version are unchanged and whose mask is
    intact. If a scan is newly rejected, the run publishes all others and then fails (exit code 3).

    Args:
        model_uri: URI of a bundle.
        scans: URI of a folder with scans.
        output: URI to write the outputs to.
        segmentation: Operating point, outputs, and which scans are segmented again.
        compute: This machine or a Ray cluster.
        dry_run: Only report which scans would be segmented; write nothing.
    """
    request = segmentation_request(
        locate(model_uri), locate(scans), locate(output), segmentation=segmentation, compute=compute
    )
    require_ours(request.output_uri, "segmentation")
    require_inputs(compute, model_uri=request.model_uri, scans=request.scans_uri)
    if dry_run:
        return plan_segmentation(request)
    segmented = segment(request, compute=compute)
    require_complete(segmentation=segmented)
    return segmented
