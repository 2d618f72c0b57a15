"""Stream of items through load → predict → finish: CPUs around the accelerators, a bounded number of bytes at once.

Each chunk is loaded and predicted by one Ray task of each kind, and finished with the other chunks of its group. When a
worker, an actor or a node dies, the group is requeued; a group that keeps failing is split, and an item that keeps
failing alone becomes a row. Why not Ray Data: infra/decisions/0007.
"""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, cast

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from tasks.core.errors import ClusterError, DataError, as_refusal, internal_error
from tasks.core.throughput import StageSums
from tasks.engine.cluster.session import own_error
from tasks.engine.inference.chunks import Chunk, ChunkGroup, Finish, Item, Load, PredictionSpec, Row
from tasks.engine.inference.model_pool import ActorPool
from tasks.stages.chunk import Loaded, Predicted

MAX_TRIES = 3
N_TRIES_ALONE = 2
"""Of the last ones: a scan is given up only after it brought down an actor with nothing beside it."""

CHUNKS_PER_CPU = 2
BYTES_IN_PROGRESS_FRACTION = 0.3
"""Of the object store: pixels loaded and not yet finished; beyond half of it Ray would start to write to disk."""

POLL_S = 1.0
STOP_TIMEOUT_S = 30.0

Head = tuple[float, int, int, int]
"""Of a loaded chunk: seconds, slices, bytes held and bytes read."""


@ray.remote(max_retries=0)
def _load(load: Callable[..., Loaded], items: Sequence[Any]) -> tuple[Head, np.ndarray, Any]:  # Any: as in `Loaded`
    """Return the head, then the slices, then the rest."""
    _lower_priority()
    started = time.perf_counter()
    loaded = load(items)
    n_held = 2 * loaded.images.nbytes + loaded.n_held  # the answer is as large as the slices
    head = (time.perf_counter() - started, len(loaded.images), n_held, loaded.n_read)
    return head, loaded.images, loaded.rest


@ray.remote(max_retries=0)
def _finish(finish: Callable[..., Any], *parts: Any) -> tuple[list[Any], float, int]:  # Any: three a chunk
    """Return the rows, seconds and bytes written."""
    _lower_priority()
    started = time.perf_counter()
    chunks = [Predicted(*parts[start : start + 3]) for start in range(0, len(parts), 3)]
    rows, n_written = finish(chunks)
    return rows, time.perf_counter() - started, n_written


def _lower_priority() -> None:
    """Leave this machine's processors to the models where both want them, for the life of this worker.

    A model on a CPU waits for the slowest of its threads at every layer, so a worker that takes a tenth of a core costs
    it far more than that. A low niceness is not enough: a thread that wakes would still wait for the worker's turn to
    end.
    """
    if hasattr(os, "SCHED_IDLE") and os.sched_getscheduler(0) == os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


@dataclass(slots=True)
class PredictionStream(Generic[Item, Row]):
    """A run over many items; iterate over `rows` once."""

    spec: PredictionSpec[Item, Row]
    sums: StageSums = field(default_factory=StageSums)
    _todo: deque[Chunk[Item]] = field(default_factory=deque)
    _loading: "dict[ray.ObjectRef[Head], Chunk[Item]]" = field(default_factory=dict)
    _ready: deque[Chunk[Item]] = field(default_factory=deque)
    _predicting: "dict[ray.ObjectRef[float], Chunk[Item]]" = field(default_factory=dict)
    _finishing: "dict[ray.ObjectRef[tuple[list[Row], float, int]], ChunkGroup[Item]]" = field(default_factory=dict)
    _n_bytes: int = 0

    def rows(self, items: Sequence[Item]) -> Iterator[list[Row]]:
        """Yield the rows of each group as it is finished, in any order; exactly one row an item.

        Raises:
            LesionWorkflowError: What a stage raised on purpose; wrapped by Ray (see `cluster.session`).
            ClusterError: If actors keep dying.
        """
        for group in self.spec.groups(items):
            self._todo.extend(group.chunks())
        load, finish = ray.put(self.spec.load), ray.put(self.spec.finish)
        pool = ActorPool(self.spec.load_model, self.spec.n_gpus)
        try:
            while self._todo or self._n_in_progress:
                pool.resize(len(self._todo) + self._n_in_progress)
                self._admit(load, pool)
                self._dispatch(pool)
                yield from self._collect(finish, pool)
        finally:
            self._stop()
            pool.close()

    def _admit(self, load: "ray.ObjectRef[Load[Item]]", pool: ActorPool) -> None:
        """Start to load chunks while there is room for what they bring."""
        n_cpus, store_bytes = _capacity()
        room = BYTES_IN_PROGRESS_FRACTION * store_bytes
        while self._todo and (
            not self._n_in_progress
            or (self._n_in_progress < CHUNKS_PER_CPU * n_cpus + 2 * pool.size and self._n_bytes < room)
        ):
            chunk = self._todo.popleft()
            loaded = cast(  # by Ray's types a task has one return, whatever its num_returns
                "tuple[ray.ObjectRef[Head], ray.ObjectRef[np.ndarray], ray.ObjectRef[Any]]",
                _load.options(num_returns=3).remote(load, chunk.items),
            )
            head, chunk.images, chunk.rest = loaded
            self._loading[head] = chunk

    def _dispatch(self, pool: ActorPool) -> None:
        """Hand loaded chunks to actors that can take them."""
        while self._ready and (slot := pool.hand(self._ready[0], is_alone=self._ready[0].group.is_suspect)):
            chunk = self._ready.popleft()
            chunk.slot = slot
            images = cast("ray.ObjectRef[np.ndarray]", chunk.images)  # not None once a chunk is loaded
            predicted = cast(  # as above
                "tuple[ray.ObjectRef[np.ndarray], ray.ObjectRef[float]]", slot.actor.predict.remote(images)
            )
            chunk.probability, answer = predicted
            self._predicting[answer] = chunk

    def _collect(self, finish: "ray.ObjectRef[Finish[Row]]", pool: ActorPool) -> Iterator[list[Row]]:
        """Wait until something is ready, and take what is."""
        waits = [*self._loading, *self._predicting, *self._finishing, *pool.loading]
        if not waits:  # every node is gone for the moment
            time.sleep(POLL_S)
            return
        ready, _ = ray.wait(waits, num_returns=len(waits), timeout=0)
        if not ready:
            ready, _ = ray.wait(waits, num_returns=1, timeout=POLL_S)
        for ref in ready:
            if ref in pool.loading:
                pool.note_loaded(ref)
            elif rows := self._take(ref, finish, pool):
                yield rows

    def _take(
        self,
        ref: "ray.ObjectRef[Any]",  # Any: the answer of any stage
        finish: "ray.ObjectRef[Finish[Row]]",
        pool: ActorPool,
    ) -> list[Row]:
        """Take the answer of one stage; return rows if it was the last."""
        loading, predicting = self._loading.pop(ref, None), self._predicting.pop(ref, None)
        chunk = loading or predicting
        group = chunk.group if chunk else self._finishing.pop(ref)
        try:
            answer = ray.get(ref)
        except RayError as err:
            if _is_meant(err) or (_bug_in(err) and self.spec.give_up is None):
                raise
            return self._requeue_after_crash(group, chunk, err, pool)
        if loading:
            self._note_loaded(loading, answer)
        elif predicting:
            self._note_predicted(predicting, answer, finish, pool)
        else:
            rows, seconds, n_written = answer
            self.sums.add_finished(seconds, n_written)
            self._n_bytes -= group.n_bytes
            return list(rows)
        return []

    def _note_loaded(self, chunk: Chunk[Item], answer: Head) -> None:
        seconds, chunk.n_slices, n_bytes, n_read = answer
        self.sums.add_loaded(seconds, n_read)
        if chunk.group.is_aborted:
            return
        chunk.group.n_bytes += n_bytes
        self._n_bytes += n_bytes
        self._ready.append(chunk)

    def _note_predicted(
        self, chunk: Chunk[Item], seconds: float, finish: "ray.ObjectRef[Finish[Row]]", pool: ActorPool
    ) -> None:
        if chunk.slot:
            pool.note_answer(chunk.slot, chunk)
        self.sums.add_predicted(seconds, chunk.n_slices, time.monotonic())
        group = chunk.group
        if group.is_aborted:
            return
        group.predicted[chunk.number] = (chunk.images, chunk.rest, chunk.probability)
        if len(group.predicted) == len(group.parts):
            parts = [part for number in sorted(group.predicted) for part in group.predicted[number]]
            self._finishing[_finish.remote(finish, *parts)] = group
            group.predicted.clear()

    def _requeue_after_crash(
        self, group: ChunkGroup[Item], chunk: Chunk[Item] | None, err: RayError, pool: ActorPool
    ) -> list[Row]:
        """Put the items of a group whose process died back to the start; return rows of those already finished."""
        is_blamed, bug = True, _bug_in(err)
        if chunk and chunk.slot and (isinstance(err, RayActorError) or bug):
            is_blamed = chunk.slot.waiting[0] is chunk  # only what the actor worked on may have killed it
            pool.drop(chunk.slot, err, is_broken=bug is not None)
        elif chunk and chunk.slot:
            chunk.slot.waiting.remove(chunk)
        if group.is_aborted:
            return []
        group.is_aborted = True
        self._n_bytes -= group.n_bytes
        self._todo = deque(other for other in self._todo if other.group is not group)
        self._ready = deque(other for other in self._ready if other.group is not group)
        n_tries = group.n_tries + is_blamed
        done = self.spec.recall(group.items)
        left = [item for index, item in enumerate(group.items) if index not in done]
        rows = list(done.values())
        if n_tries >= MAX_TRIES and len(left) == 1 and (group.is_suspect or self.spec.give_up is None):
            if self.spec.give_up is None:
                raise ClusterError(f"Workers died {n_tries} times over one and the same input: {err}") from err
            return [*rows, self.spec.give_up(left[0], bug)]
        if n_tries < MAX_TRIES:
            self._put_back(left, n_tries, is_suspect=group.is_suspect)
        else:  # apart and alone, to find the one that kills
            for item in left:
                self._put_back([item], MAX_TRIES - N_TRIES_ALONE, is_suspect=True)
        return rows

    def _put_back(self, items: Sequence[Item], n_tries: int, *, is_suspect: bool) -> None:
        for group in self.spec.groups(items):
            group.n_tries, group.is_suspect = n_tries, is_suspect
            self._todo.extendleft(reversed(group.chunks()))

    def _stop(self) -> None:
        """End what is still under way, so that nothing is written after this run."""
        waits = [*self._loading, *self._predicting, *self._finishing]
        for ref in waits:
            ray.cancel(ref)
        if waits:
            ray.wait(waits, num_returns=len(waits), timeout=STOP_TIMEOUT_S)

    @property
    def _n_in_progress(self) -> int:
        return len(self._loading) + len(self._ready) + len(self._predicting) + len(self._finishing)


def _is_meant(err: RayError) -> bool:
    """Say whether a stage raised an error of ours, such as the store's fault, which no other try would mend."""
    return isinstance(err, RayTaskError) and own_error(err) is not None


def _bug_in(err: RayError) -> DataError | None:
    """Return what a stage raised that nobody meant, as a refusal; None where its process died."""
    cause = err.cause if isinstance(err, RayTaskError) else None
    if not isinstance(cause, Exception) or isinstance(cause, RayError):
        return None
    if isinstance(cause, MemoryError):
        return as_refusal(cause)
    # the cause comes without its traceback, which stands in the text of Ray's error
    return internal_error(type(cause).__name__, re.findall(r'File ".+", line \d+, in \S+', str(err)))


def _capacity() -> tuple[float, float]:
    """Return CPUs and bytes of object store of the cluster as it is now."""
    resources = ray.cluster_resources()
    return resources.get("CPU", 1.0), resources.get("object_store_memory", 0.0)
