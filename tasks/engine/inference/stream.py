"""Stream of items through load → predict → finish, on CPUs and accelerators, with bounded memory.

Each chunk is loaded and predicted by one Ray task of each kind, and finished with the other chunks of its group. When a
worker, an actor or a node dies, the group is requeued; a group that keeps failing is split, and an item that keeps
failing alone becomes a row. Why not Ray Data: infra/decisions/0007.
"""

import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, cast

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from tasks.core.errors import ClusterError, DataError, as_refusal, internal_error
from tasks.core.throughput import StageSums
from tasks.engine.cluster.session import own_error
from tasks.engine.inference.chunks import Chunk, ChunkGroup, ChunkState, Finish, Item, Load, PredictionSpec, Row
from tasks.engine.inference.model_pool import ActorPool, ActorSlot
from tasks.engine.inference.stage_tasks import Head, finish_in_worker, load_in_worker

MAX_TRIES = 3
N_TRIES_ALONE = 2
"""Attempts of an item alone: it is given up only after it crashed an actor without other chunks."""

CHUNKS_PER_CPU = 2
BYTES_IN_PROGRESS_FRACTION = 0.3
"""Fraction of the object store for unfinished chunks; beyond half of it Ray would spill to disk."""

LATE = "It was not loaded or written within the time limit of a scan (segmentation.scan_timeout_minutes)."

POLL_S = 1.0
STOP_TIMEOUT_S = 30.0


@dataclass(slots=True)
class PredictionStream(Generic[Item, Row]):
    """Stream over many items; iterate over `rows` once.

    Each chunk carries its own state. It is in one of two containers: `_waiting`, the next to be loaded first; or
    `_started`, by the reference of the latest task it was given to. Those in `_started` are loaded but not yet with an
    actor (in the order they were loaded), or in flight; the chunks of a group that wait for the rest of it to be
    predicted are in neither. `_started` is as long as the cluster is large, however many items there are.
    """

    spec: PredictionSpec[Item, Row]
    sums: StageSums = field(default_factory=StageSums)
    _waiting: deque[Chunk[Item]] = field(default_factory=deque)
    _started: "dict[ray.ObjectRef[Any], Chunk[Item]]" = field(default_factory=dict)  # Any: what any stage returns
    _n_bytes: int = 0

    def rows(self, items: Sequence[Item]) -> Iterator[list[Row]]:
        """Yield the rows of each group as it is finished, in any order; exactly one row per item.

        Raises:
            LesionWorkflowError: An error of a stage; wrapped by Ray (see `cluster.session`).
            ClusterError: If actors keep dying.
        """
        for group in self.spec.groups(items):
            self._waiting.extend(group.chunks)
        load, finish = ray.put(self.spec.load), ray.put(self.spec.finish)
        pool = ActorPool(self.spec.load_model, self.spec.n_gpus)
        try:
            while self._waiting or self._started:
                pool.resize(len(self._waiting) + len(self._started))
                self._start_loading(load, pool)
                self._start_predicting(pool)
                yield from self._collect(finish, pool)
        finally:
            self._stop()
            pool.close()

    def _start_loading(self, load: "ray.ObjectRef[Load[Item]]", pool: ActorPool) -> None:
        """Load chunks while the object store has space for them."""
        n_cpus, store_bytes = _capacity()
        max_bytes = BYTES_IN_PROGRESS_FRACTION * store_bytes
        max_started = CHUNKS_PER_CPU * n_cpus + 2 * pool.size
        while self._waiting and (not self._started or (len(self._started) < max_started and self._n_bytes < max_bytes)):
            chunk = self._waiting.popleft()
            loaded = cast(  # by Ray's types a task has one return, whatever its num_returns
                "tuple[ray.ObjectRef[Head], ray.ObjectRef[np.ndarray], ray.ObjectRef[Any]]",
                load_in_worker.options(num_returns=3).remote(load, chunk.items, self.spec.timeout_s),
            )
            head, chunk.images, chunk.rest = loaded
            chunk.state, chunk.given_s = ChunkState.LOADING, time.monotonic()
            self._started[head] = chunk

    def _start_predicting(self, pool: ActorPool) -> None:
        """Assign loaded chunks to actors."""
        loaded = [(ref, chunk) for ref, chunk in self._started.items() if chunk.state is ChunkState.LOADED]
        for ref, chunk in loaded:
            chunk.slot = pool.hand(chunk, is_alone=chunk.group.is_suspect)
            if chunk.slot is None:  # those behind it wait, too: a suspect would never find an idle actor
                return
            images = cast("ray.ObjectRef[np.ndarray]", chunk.images)  # not None once a chunk is loaded
            predicted = cast(  # as above
                "tuple[ray.ObjectRef[np.ndarray], ray.ObjectRef[float]]", chunk.slot.actor.predict.remote(images)
            )
            chunk.probability, seconds = predicted
            chunk.state = ChunkState.PREDICTING
            del self._started[ref]
            self._started[seconds] = chunk

    def _collect(self, finish: "ray.ObjectRef[Finish[Row]]", pool: ActorPool) -> Iterator[list[Row]]:
        """Wait for results of tasks and process them."""
        in_flight = [*self._in_flight(), *pool.loading]
        if not in_flight:  # every node is gone for the moment
            time.sleep(POLL_S)
            return
        arrived, _ = ray.wait(in_flight, num_returns=len(in_flight), timeout=0)
        if not arrived:
            arrived, _ = ray.wait(in_flight, num_returns=1, timeout=POLL_S)
        for ref in arrived:
            if ref in pool.loading:
                pool.note_loaded(ref)
            elif rows := self._take(ref, finish, pool):
                yield rows

    def _take(
        self,
        ref: "ray.ObjectRef[Any]",  # Any: what any stage returns
        finish: "ray.ObjectRef[Finish[Row]]",
        pool: ActorPool,
    ) -> list[Row]:
        """Process the result of one stage; return rows after the last."""
        chunk = self._started.pop(ref)
        try:
            returned = ray.get(ref)
        except RayError as err:
            if _is_meant(err) or (_bug_in(err) and self.spec.give_up is None):
                raise
            return self._requeue_after_crash(chunk, err, pool)
        if chunk.state is ChunkState.FINISHING:
            rows, seconds, n_written = returned
            self.sums.add_finished(seconds, n_written)
            self._n_bytes -= chunk.group.n_bytes
            return list(rows)
        if chunk.slot is None:
            self._note_loaded(chunk, ref, returned)
        else:
            pool.note_predicted(chunk.slot, chunk)
            self._note_predicted(chunk, returned, finish)
        return []

    def _note_loaded(self, chunk: Chunk[Item], ref: "ray.ObjectRef[Head]", head: Head) -> None:
        seconds, chunk.n_slices, n_bytes, n_read = head
        self.sums.add_loaded(seconds, n_read)
        if chunk.state is ChunkState.DROPPED:
            return
        chunk.group.n_bytes += n_bytes
        self._n_bytes += n_bytes
        chunk.state = ChunkState.LOADED
        self._started[ref] = chunk

    def _note_predicted(self, chunk: Chunk[Item], seconds: float, finish: "ray.ObjectRef[Finish[Row]]") -> None:
        chunk.slot = None
        self.sums.add_predicted(seconds, chunk.n_slices, time.monotonic())
        if chunk.state is ChunkState.DROPPED:
            return
        chunk.state = ChunkState.PREDICTED
        group = chunk.group
        if group.is_predicted:
            parts = [ref for each in group.chunks for ref in (each.images, each.rest, each.probability)]
            self._started[finish_in_worker.remote(finish, self.spec.timeout_s, *parts)] = chunk
            chunk.state, chunk.given_s = ChunkState.FINISHING, time.monotonic()
            for each in group.chunks:
                each.release()

    def _requeue_after_crash(self, chunk: Chunk[Item], err: RayError, pool: ActorPool) -> list[Row]:
        """Requeue the items of a chunk's group; return rows of those already finished."""
        group, is_late = chunk.group, self._is_late(chunk)
        bug = DataError("timed_out", LATE) if is_late else _bug_in(err)
        is_blamed = chunk.slot is None or _take_from_actor(chunk, chunk.slot, err, pool)
        if chunk.state is ChunkState.DROPPED:
            return []
        self._drop(group)
        n_tries = MAX_TRIES if is_late else group.n_tries + is_blamed  # another try would take as long
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

    def _is_late(self, chunk: Chunk[Item]) -> bool:
        """Return whether the worker of a chunk may have died of the time limit."""
        timeout_s = self.spec.timeout_s
        return timeout_s is not None and chunk.slot is None and time.monotonic() - chunk.given_s >= timeout_s

    def _drop(self, group: ChunkGroup[Item]) -> None:
        """Drop the chunks of a group; running tasks are kept until they return."""
        in_flight = self._in_flight()
        group.drop()
        self._n_bytes -= group.n_bytes
        self._waiting = deque(chunk for chunk in self._waiting if chunk.state is not ChunkState.DROPPED)
        self._started = {
            ref: chunk
            for ref, chunk in self._started.items()
            if ref in in_flight or chunk.state is not ChunkState.DROPPED
        }

    def _put_back(self, items: Sequence[Item], n_tries: int, *, is_suspect: bool) -> None:
        for group in self.spec.groups(items):
            group.n_tries, group.is_suspect = n_tries, is_suspect
            self._waiting.extendleft(reversed(group.chunks))

    def _stop(self) -> None:
        """Cancel running tasks, so that nothing is written after this run."""
        in_flight = self._in_flight()
        for ref in in_flight:
            ray.cancel(ref)
        if in_flight:
            ray.wait(list(in_flight), num_returns=len(in_flight), timeout=STOP_TIMEOUT_S)
        for chunk in self._started.values():  # chunk and group name each other: Python would free them late
            chunk.group.drop()
        self._started.clear()

    def _in_flight(self) -> "dict[ray.ObjectRef[Any], Chunk[Item]]":  # Any: as above
        """Return the chunks of running tasks."""
        return {ref: chunk for ref, chunk in self._started.items() if chunk.state is not ChunkState.LOADED}


def _take_from_actor(chunk: Chunk[Item], slot: ActorSlot, err: RayError, pool: ActorPool) -> bool:
    """Take a chunk whose prediction failed from its actor; return whether the chunk may have caused it."""
    bug = _bug_in(err)
    if not isinstance(err, RayActorError) and bug is None:
        slot.waiting.remove(chunk)
        return True
    is_first = slot.waiting[0] is chunk  # only what the actor worked on may have killed it
    pool.drop(slot, err, is_broken=bug is not None)
    return is_first


def _is_meant(err: RayError) -> bool:
    """Return whether a stage raised an error of this project, for which a retry would not help."""
    return isinstance(err, RayTaskError) and own_error(err) is not None


def _bug_in(err: RayError) -> DataError | None:
    """Return the bug that a stage triggered, as a rejection; None if its process died."""
    cause = err.cause if isinstance(err, RayTaskError) else None
    if not isinstance(cause, Exception) or isinstance(cause, RayError):
        return None
    if isinstance(cause, MemoryError):
        return as_refusal(cause)
    # the cause comes without its traceback, which stands in the text of Ray's error
    return internal_error(type(cause).__name__, re.findall(r'File ".+", line \d+, in \S+', str(err)))


def _capacity() -> tuple[float, float]:
    """Return the cluster's current number of CPUs and size of the object store in bytes."""
    resources = ray.cluster_resources()
    return resources.get("CPU", 1.0), resources.get("object_store_memory", 0.0)
