"""Listing of the scans of a segmentation, and the check that none are lost."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tasks.core.errors import PASSING_CODES, IncompleteError
from tasks.core.plural import counted
from tasks.core.rows import ScanRow
from tasks.core.step_inputs import SegmentRequest
from tasks.io import storage
from tasks.io.formats import shown_formats
from tasks.io.other_files import n_possible_scans, shown
from tasks.io.outputs.ownership import list_inputs
from tasks.io.outputs.segmentations import INDEX_FOLDER, n_rows
from tasks.io.packings import SHOWN_PACKINGS
from tasks.io.pseudonyms import Seal
from tasks.io.scan_index import ContainerIndex, find_index
from tasks.io.scan_sources import Container, ScanSource
from tasks.io.scans import Survey, index_key, merged_by_series, series_apart, series_in, survey
from tasks.io.sealed_file import SealedFile
from tasks.io.stacks import stack

logger = logging.getLogger(__name__)

Index = Callable[[Sequence[Container], Sequence[SealedFile]], list[ContainerIndex]]
"""Function that opens containers and stores their indexes in the given files."""


def youngest_stable_s(request: SegmentRequest) -> float:
    """Return the time after which an object may still be uploading, seconds since the epoch."""
    return time.time() - request.segmentation.settle_minutes * 60


def list_scans(request: SegmentRequest, index: Index, youngest_s: float, seal: Seal | None) -> Survey:
    """Return the scans below the request's URI; what may still be uploading is left for a later run."""
    objects, n_of_runs = list_inputs(request.scans_uri)
    found = survey(objects, youngest_s)
    found.n_of_runs = n_of_runs
    indexes = _add_containers(found, _Indexes.of(request.output_uri, index, seal))
    if not request.segmentation.pictures_beside_dicom:
        found.leave_pictures(indexes)
    if request.segmentation.stack_pattern:
        found.sources = stack(found.sources, request.segmentation.stack_pattern)
    return found


def _add_containers(found: Survey, indexes: "_Indexes") -> list[ContainerIndex]:
    """Add the scans of containers to a survey, and return their indexes; folders of one series are opened together.

    What may still be uploading is one scan, to be opened later. Folders of it are opened all the same: a series that
    has slices there waits for them.
    """
    stable = [container for container in found.containers if not container.is_after(found.youngest_s)]
    young = [container for container in found.containers if container.is_after(found.youngest_s)]
    for container in young:
        found.add_unopened(container)
    folders = [container for container in young if not container.is_archive]
    indexes.open([*stable, *folders])
    merged = merged_by_series({container: indexes.found[container] for container in stable})
    indexes.open(merged)
    opened = {container: indexes.found[container] for container in merged}
    uploading = [indexes.found[container] for container in folders]
    found.split = series_apart(opened.values())
    found.uploading = {series for index in uploading for series in series_in(index)}
    for container, index in opened.items():
        found.add_index(container, index, indexes.file_of(container))
    return [*opened.values(), *uploading]


@dataclass(frozen=True, slots=True)
class _Indexes:
    """Indexes of containers; only those without a stored index are opened."""

    folder: str
    names: set[str]
    index: Index
    seal: Seal | None
    found: dict[Container, ContainerIndex] = field(default_factory=dict)

    @classmethod
    def of(cls, output_uri: str, index: Index, seal: Seal | None) -> "_Indexes":
        """Return those of an output."""
        folder = storage.join(output_uri, INDEX_FOLDER)
        names = {o.path for o in storage.list_objects(folder)} if storage.exists(folder) else set()
        return cls(folder, names, index, seal)

    def file_of(self, container: Container) -> SealedFile:
        """Return where an index is kept; a sealed one has a name of its own, so that no other is taken for it."""
        key = index_key(container)
        name = f"{self.seal.id_of(key)}.sealed" if self.seal else f"{key}.json"  # who has the container could make it
        return SealedFile(storage.join(self.folder, name), self.seal)

    def open(self, containers: Sequence[Container]) -> None:
        """Add the indexes of containers."""
        kept = {container: self.file_of(container) for container in containers if container not in self.found}
        known = [container for container, file in kept.items() if file.uri.rpartition("/")[2] in self.names]
        read = zip(known, storage.map_in_parallel(lambda container: find_index(kept[container]), known), strict=True)
        self.found.update((container, found) for container, found in read if found and not _is_to_be_tried_again(found))
        new = [container for container in kept if container not in self.found]
        if new:
            logger.info("index: opening %d containers, %d are known", len(new), len(kept) - len(new))
        self.found.update(zip(new, self.index(new, [kept[container] for container in new]), strict=True))
        for where in {entry.where for container in new for entry in self.found[container].entries if entry.where}:
            logger.error("index: a container triggered a bug, %s", where)


def _is_to_be_tried_again(found: ContainerIndex) -> bool:
    """Return whether something in an index was unreachable rather than bad."""
    return any(entry.error_code in PASSING_CODES for entry in found.entries)


def require_scans(found: Survey, new: Sequence[ScanSource], known: Iterable[ScanRow], output_uri: str) -> None:
    """Refuse to replace a table by an empty one if scans were lost.

    Args:
        found: Result of the listing.
        new: Scans without a row of an earlier run.
        known: Rows of the other scans.
        output_uri: URI of the output with the table of earlier runs.

    Raises:
        IncompleteError: If files could be chest CTs but none was read, or no file is there any more.
    """
    if any(row.status != "deferred" for row in known) or any(_is_scan(scan) for scan in new):
        return
    n_earlier = n_rows(output_uri)
    if n_earlier and not found.n_objects:
        raise IncompleteError(
            f"Nothing lies below the scans' address any more, where the output has {counted(n_earlier, 'scan')}: a "
            "lost mount, or another address? What was published before stays."
        )
    n_possible = n_possible_scans(found.n_ignored) + len(new)
    if n_possible and (n_earlier or not new):  # archives without scans are rows of a first table
        kinds = shown(found.n_ignored) or counted(len(new), "archive")
        raise IncompleteError(
            f"Found {counted(found.n_objects, 'object')} below the scans' address, {n_possible:,} of which could be "
            f"scans, and took none: {kinds}. Read are {shown_formats()}, and archives of them ({SHOWN_PACKINGS}). "
            "What was published before stays."
        )


def _is_scan(scan: ScanSource) -> bool:
    return scan.refused is None or scan.refused[0] != "no_scan"
