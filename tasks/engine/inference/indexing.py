"""Indexing of containers in parallel Ray tasks."""

import time
from collections.abc import Sequence

import ray
from ray.exceptions import RayError, RayTaskError

from tasks.core.errors import DataError
from tasks.io.scan_containers import open_or_reject, reject_container
from tasks.io.scan_index import ContainerIndex, write_index
from tasks.io.scan_sources import Container
from tasks.io.sealed_file import SealedFile
from tasks.io.time_limit import time_limit

MAX_TRIES = 3
"""Of a container alone; before that Ray itself tries a second time, beside others, because a node may be lost."""


def index_on_cluster(
    containers: Sequence[Container], kept: Sequence[SealedFile], *, timeout_s: float
) -> list[ContainerIndex]:
    """Open containers in Ray tasks and store their indexes; one that cannot be opened is a rejected scan.

    Args:
        containers: Archives and folders of DICOM files.
        kept: File of each index; seek points of gzipped tars are stored beside it.
        timeout_s: Seconds without a further member or header after which a container is rejected.
    """
    pairs = list(zip(containers, kept, strict=True))
    tasks = [_index_and_keep.remote(container, file, timeout_s) for container, file in pairs]
    found = [_result(task) for task in tasks]
    return [index or _try_again(*pair, timeout_s) for index, pair in zip(found, pairs, strict=True)]


def _try_again(container: Container, kept: SealedFile, timeout_s: float) -> ContainerIndex:
    """Return the index of a container over which a worker died; now alone, so that its time is its own."""
    for _ in range(MAX_TRIES):
        started = time.monotonic()
        found = _result(_index_and_keep.remote(container, kept, timeout_s))
        if found:
            return found
        if time.monotonic() - started >= timeout_s:
            sentence = f"Nothing more was found in it for {timeout_s / 60:g} min (segmentation.scan_timeout_minutes)."
            return reject_container(container, DataError("timed_out", sentence))
    sentence = "The worker process died over this container again and again."
    return reject_container(container, DataError("worker_died", sentence))


def _result(task: "ray.ObjectRef[ContainerIndex]") -> ContainerIndex | None:
    """Return the index that a task made; None if its worker died."""
    try:
        return ray.get(task)
    except RayError as err:
        if isinstance(err, RayTaskError):
            raise
        return None


@ray.remote(max_retries=1)
def _index_and_keep(container: Container, kept: SealedFile, timeout_s: float) -> ContainerIndex:
    with time_limit(timeout_s):
        found = open_or_reject(container, f"{kept.uri.rpartition('.')[0]}.gzidx")
    write_index(kept, found)
    return found
