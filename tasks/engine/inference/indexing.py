"""Containers to scans: each archive and each folder of DICOM files is opened once, in parallel, and remembered."""

import logging
from collections.abc import Callable, Sequence

import ray
from ray.exceptions import RayError, RayTaskError

from tasks.core.errors import PASSING_CODES, DataError
from tasks.io import storage
from tasks.io.pseudonyms import Seal
from tasks.io.scan_containers import Container
from tasks.io.scan_index import FOLDER, ContainerIndex, IndexFile
from tasks.io.scans import Survey

logger = logging.getLogger(__name__)

MAX_TRIES = 3

Index = Callable[[Sequence[Container]], list[ContainerIndex]]


def add_containers(
    survey: Survey, containers: Sequence[Container], output_uri: str, *, index: Index, seal: Seal | None
) -> None:
    """Add the scans of containers to a survey; those whose index is kept are not opened.

    Args:
        survey: What was listed.
        containers: Settled ones.
        output_uri: Where indexes are kept.
        index: Opens the others.
        seal: What indexes are closed with.

    Raises:
        StorageError: If a container cannot be read.
    """
    folder = storage.join(output_uri, FOLDER)
    kept = {o.path for o in storage.list_objects(folder)} if storage.exists(folder) else set()
    files = {container: _index_file(folder, container, seal) for container in containers}
    known = [container for container, file in files.items() if file.uri.rpartition("/")[2] in kept]
    indexes = dict(zip(known, storage.map_in_parallel(lambda found: files[found].read(), known), strict=True))
    indexes = {container: found for container, found in indexes.items() if not _has_passing_errors(found)}
    new = [container for container in containers if container not in indexes]
    if new:
        logger.info("index: opening %d containers, %d are known", len(new), len(indexes))
    indexes |= zip(new, index(new), strict=True)
    for where in {entry.where for container in new for entry in indexes[container].entries if entry.where}:
        logger.error("index: a container brought out a bug, %s", where)
    for container in containers:
        survey.add_index(container, indexes[container], files[container])


def index_here(containers: Sequence[Container]) -> list[ContainerIndex]:
    """Open containers in this process; nothing is kept, and nothing is written to the output."""
    return [container.index_or_refuse("memory://lesions-plan") for container in containers]


def index_on_cluster(containers: Sequence[Container], *, output_uri: str, seal: Seal | None) -> list[ContainerIndex]:
    """Open containers in Ray tasks, and keep what they hold; one that cannot be opened is a refused scan."""
    folder = storage.join(output_uri, FOLDER)
    files = [_index_file(folder, container, seal) for container in containers]
    tasks = [_index_and_keep.remote(container, folder, kept) for container, kept in zip(containers, files, strict=True)]
    return [_result_of(task, container) for task, container in zip(tasks, containers, strict=True)]


def _index_file(folder: str, container: Container, seal: Seal | None) -> IndexFile:
    """Return where an index is kept; a sealed one has a name of its own, so that no other is taken for it."""
    return IndexFile(storage.join(folder, f"{container.key}.{'sealed' if seal else 'json'}"), seal)


def _result_of(task: "ray.ObjectRef[ContainerIndex]", container: Container) -> ContainerIndex:
    try:
        return ray.get(task)
    except RayError as err:
        if isinstance(err, RayTaskError):
            raise
        sentence = "The worker process died over this container again and again."
        return container.refused(DataError("worker_died", sentence))


@ray.remote(max_retries=MAX_TRIES)
def _index_and_keep(container: Container, folder: str, kept: IndexFile) -> ContainerIndex:
    found = container.index_or_refuse(folder)
    kept.write(found)
    return found


def _has_passing_errors(found: ContainerIndex) -> bool:
    """Return whether something in it was out of reach rather than bad."""
    return any(entry.error_code in PASSING_CODES for entry in found.entries)
