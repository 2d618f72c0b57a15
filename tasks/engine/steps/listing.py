"""What a segmentation finds below the scans' address, and whether that can be all."""

import time
from collections.abc import Iterable, Sequence

from tasks.core.errors import IncompleteError
from tasks.core.plural import counted
from tasks.core.rows import ScanRow
from tasks.core.step_inputs import SegmentRequest
from tasks.engine.inference.indexing import Index, add_containers
from tasks.io.formats import shown_formats
from tasks.io.other_files import n_possible_scans, shown
from tasks.io.outputs import segmentations
from tasks.io.pseudonyms import Seal
from tasks.io.scans import ScanSource, Survey, survey
from tasks.io.stacks import stack


def youngest_settled_s(request: SegmentRequest) -> float:
    """Return the time after which an object may still be uploading."""
    return time.time() - request.segmentation.settle_minutes * 60


def list_scans(request: SegmentRequest, index: Index, youngest_s: float, seal: Seal | None) -> Survey:
    """Return the scans below the request's URI; containers that may still be uploading are not opened."""
    found = survey(request.scans_uri, youngest_s)
    settled = [c for c in found.containers if c.modified_s is None or c.modified_s <= youngest_s]
    for container in found.containers:
        if container not in settled:
            found.add_unopened(container)
    add_containers(found, settled, request.output_uri, index=index, seal=seal)
    if request.segmentation.stack_pattern:
        found.drafts = stack(found.drafts, request.segmentation.stack_pattern)
    return found


def require_scans(found: Survey, due: Sequence[ScanSource], settled: Iterable[ScanRow], output_uri: str) -> None:
    """Refuse to replace a table by an empty one where scans were lost rather than absent.

    Args:
        found: What was listed.
        due: Scans to be worked on.
        settled: Rows of the others.
        output_uri: Where the table of earlier runs lies.

    Raises:
        IncompleteError: If something could have been a chest CT and nothing was taken, or nothing lies there any more.
    """
    if any(row.status != "deferred" for row in settled) or any(_is_scan(scan) for scan in due):
        return
    n_earlier = segmentations.n_rows(output_uri)
    if n_earlier and not found.n_objects:
        raise IncompleteError(
            f"Nothing lies below the scans' address any more, where the output has {counted(n_earlier, 'scan')}: a "
            "lost mount, or another address? What was published before stays."
        )
    n_possible = n_possible_scans(found.n_ignored) + len(due)
    if n_possible and (n_earlier or not due):  # archives of which nothing was taken are rows of a first table
        kinds = shown(found.n_ignored) or counted(len(due), "archive")
        raise IncompleteError(
            f"Found {counted(found.n_objects, 'object')} below the scans' address, {n_possible:,} of which could be "
            f"scans, and took none: {kinds}. Known are {shown_formats()}, "
            "and archives of them (zip, tar, tar.gz). What was published before stays."
        )


def _is_scan(scan: ScanSource) -> bool:
    return scan.refused is None or scan.refused[0] != "no_scan"
