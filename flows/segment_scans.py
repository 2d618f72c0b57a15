"""Flow: new scans become masks."""

from prefect import flow

from tasks.core.config.compute import ComputeConfig
from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.handles import SegmentationHandle, SegmentationPlan
from tasks.io.outputs.ownership import require_ours
from tasks.runtime.addresses import locate
from tasks.runtime.cancellation import stop_jobs
from tasks.runtime.completeness import require_complete
from tasks.segment import plan_segmentation, segment, segmentation_request


@flow(name="segment-scans", on_cancellation=[stop_jobs])
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

    Running it again does only what is new: a scan whose content, model, parameters and mask version are unchanged and
    whose mask is intact is skipped. Ends incomplete if a scan newly failed; everything good is published first.

    Args:
        model_uri: URI of a bundle.
        scans: URI below which the scans lie.
        output: URI the outputs are written to.
        segmentation: Operating point and what is done again.
        compute: Where the work runs.
        dry_run: Only say what would be done; nothing is written.
    """
    request = segmentation_request(
        locate(model_uri), locate(scans), locate(output), segmentation=segmentation, compute=compute
    )
    require_ours(request.output_uri, "segmentation")
    if dry_run:
        return plan_segmentation(request)
    segmented = segment(request, compute=compute)
    require_complete(segmentation=segmented)
    return segmented
