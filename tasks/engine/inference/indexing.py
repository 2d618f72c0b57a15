"""Indexing of containers in parallel Ray tasks."""

from collections.abc import Sequence

import ray
from ray.exceptions import RayError, RayTaskError

from tasks.core.errors import DataError
from tasks.io.scan_containers import open_or_reject, reject_container
from tasks.io.scan_index import ContainerIndex, write_index
from tasks.io.scan_sources import Container
from tasks.io.sealed_file import SealedFile

MAX_TRIES = 3


def index_on_cluster(containers: Sequence[Container], kept: Sequence[SealedFile]) -> list[ContainerIndex]:
    """Open containers in Ray tasks and store their indexes; one that cannot be opened is a rejected scan.

    Args:
        containers: Archives and folders of DICOM files.
        kept: File of each index; seek points of gzipped tars are stored beside it.
    """
    tasks = [_index_and_keep.remote(container, file) for container, file in zip(containers, kept, strict=True)]
    return [_result(task, container) for task, container in zip(tasks, containers, strict=True)]


def _result(task: "ray.ObjectRef[ContainerIndex]", container: Container) -> ContainerIndex:
    try:
        return ray.get(task)
    except RayError as err:
        if isinstance(err, RayTaskError):
            raise
        sentence = "The worker process died over this container again and again."
        return reject_container(container, DataError("worker_died", sentence))


@ray.remote(max_retries=MAX_TRIES)
def _index_and_keep(container: Container, kept: SealedFile) -> ContainerIndex:
    found = open_or_reject(container, f"{kept.uri.rpartition('.')[0]}.gzidx")
    write_index(kept, found)
    return found
