"""Plan of a segmentation: the dry run, on this machine only."""

from collections.abc import Sequence

from tasks.core.handles import SegmentationPlan
from tasks.core.step_inputs import SegmentRequest
from tasks.core.throughput import SECONDS_PER_HOUR
from tasks.engine.steps.listing import list_scans, youngest_stable_s
from tasks.engine.steps.up_to_date import count_by_status, sort_scans
from tasks.io.outputs import bundles, segmentations
from tasks.io.scan_containers import open_or_reject
from tasks.io.scan_index import ContainerIndex
from tasks.io.scan_sources import Container
from tasks.io.sealed_file import SealedFile
from tasks.stages.segmentation_run import Run


def plan(request: SegmentRequest) -> SegmentationPlan:
    """Return the scans that a run would segment; writes nothing and takes no lock.

    Raises:
        ModelError: If the bundle is missing or damaged.
        StorageError: If scans cannot be listed.
    """
    run = Run.of(request, bundles.read_card(request.model_uri))
    youngest_s = youngest_stable_s(request)
    scans = list_scans(request, index_here, youngest_s, run.seal).scans(run.seal)
    found = sort_scans(scans, run, youngest_s)
    rows = [*found.known, *found.rejected(run)]
    seconds, cost = _estimate(request, len(found.due))
    return SegmentationPlan(
        due=[scan.scan_id for scan in found.due],
        up_to_date=count_by_status(rows),
        estimated_seconds=seconds,
        estimated_cost=cost,
    )


def _estimate(request: SegmentRequest, n_due: int) -> tuple[float | None, float | None]:
    """Return the seconds and the cost of a run at the rate of the output's last one; None where unknown."""
    earlier = segmentations.find_manifest(request.output_uri)
    if not n_due or earlier is None or not earlier.speed.scans_per_hour:
        return None, None
    seconds = n_due / earlier.speed.scans_per_hour * SECONDS_PER_HOUR
    price = request.price_per_node_hour
    cost = None if price is None else seconds / SECONDS_PER_HOUR * earlier.speed.n_nodes * price
    return seconds, cost


def index_here(containers: Sequence[Container], kept: Sequence[SealedFile]) -> list[ContainerIndex]:
    """Open containers in this process, without storing their indexes."""
    del kept
    return [
        open_or_reject(container, f"memory://lesions-plan/{container.fingerprint}.gzidx") for container in containers
    ]
