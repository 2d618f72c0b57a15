"""Plan of a segmentation: the dry run, on this machine only."""

from collections.abc import Sequence

from tasks.core.handles import SegmentationPlan
from tasks.core.step_inputs import SegmentRequest
from tasks.engine.steps.listing import list_scans, youngest_stable_s
from tasks.engine.steps.up_to_date import count_by_status, sort_scans
from tasks.io.outputs import bundles
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
    return SegmentationPlan(due=[scan.scan_id for scan in found.due], up_to_date=count_by_status(rows))


def index_here(containers: Sequence[Container], kept: Sequence[SealedFile]) -> list[ContainerIndex]:
    """Open containers in this process, without storing their indexes."""
    del kept
    return [
        open_or_reject(container, f"memory://lesions-plan/{container.fingerprint}.gzidx") for container in containers
    ]
