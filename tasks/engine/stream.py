"""Items through load → predict → finish: CPUs around the accelerators, every stage apart, a bounded amount in flight.

One chunk of items is one Ray task of each kind. Whatever dies under a chunk, a worker, an actor or a node, the chunk
goes back to the start; a chunk that keeps killing is taken apart, and an item that keeps killing is given up as a row.
Why not Ray Data: infra/decisions/0007.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from tasks.core.errors import ClusterError
from tasks.core.throughput import StageSums
from tasks.engine.actors import ActorPool, Model, Place

MAX_TRIES = 3
CHUNKS_A_CPU = 2
BYTES_IN_FLIGHT_FRACTION = 0.3
"""Of the object store: pixels loaded and not yet finished; beyond half of it Ray would start to write to disk."""

POLL_S = 1.0
STOP_TIMEOUT_S = 30.0

Item = TypeVar("Item")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `load` makes of a chunk.

    Attributes:
        images: Slices uint8 `(N, size_px, size_px)`, any N.
        rest: What `finish` needs.
        n_held: Bytes the rest holds in memory.
        n_read: Bytes read from storage.
    """

    images: np.ndarray
    rest: Any  # Any: passes from load to finish
    n_held: int
    n_read: int


@dataclass(frozen=True, slots=True)
class Work(Generic[Item, Row]):
    """What is done with items; every part is pickled and called in a worker, but `recall` and `give_up`.

    Attributes:
        load: Items to slices.
        load_model: Makes the model, in an actor.
        finish: The rest and the probabilities of those slices to rows, one an item, and bytes written.
        chunk_size: Items a chunk.
        recall: Rows of items that an earlier try already finished, by their place among those asked for.
        give_up: The row of an item whose workers keep dying; without it the run ends there.
    """

    load: Callable[[Sequence[Item]], Loaded]
    load_model: Callable[[], Model]
    finish: Callable[[Any, np.ndarray], tuple[list[Row], int]]  # Any: the rest
    chunk_size: int
    recall: Callable[[Sequence[Item]], dict[int, Row]] = lambda _: {}
    give_up: Callable[[Item], Row] | None = None


@dataclass(frozen=True, slots=True)
class _Chunk(Generic[Item]):
    items: Sequence[Item]
    n_tries: int = 0


@dataclass(eq=False, slots=True)
class _Flight(Generic[Item]):
    """A chunk under way.

    Attributes:
        chunk: Its items.
        images: Its slices, in the object store.
        rest: What `finish` needs of it, in the object store.
        n_slices: Of its items.
        n_bytes: What it holds in the object store.
        place: The actor that predicts it.
        predicted: Ready when the actor has answered.
        rows: Ready when it is finished.
    """

    chunk: _Chunk[Item]
    images: ray.ObjectRef | None = None
    rest: ray.ObjectRef | None = None
    n_slices: int = 0
    n_bytes: int = 0
    place: Place | None = None
    predicted: ray.ObjectRef | None = None
    rows: ray.ObjectRef | None = None


@ray.remote(max_retries=0)
def _load(load: Callable[..., Any], items: Sequence[Any]) -> tuple[tuple[float, int, int, int], np.ndarray, Any]:
    """Return seconds, slices, bytes held and bytes read, then the slices, then the rest."""
    _step_back()
    started = time.perf_counter()
    loaded = load(items)
    n_held = 2 * loaded.images.nbytes + loaded.n_held  # the answer is as large as the slices
    head = (time.perf_counter() - started, len(loaded.images), n_held, loaded.n_read)
    return head, loaded.images, loaded.rest


@ray.remote(max_retries=0)
def _finish(finish: Callable[..., Any], rest: Any, probability: np.ndarray) -> tuple[list[Any], float, int]:
    """Return the rows, seconds and bytes written."""
    _step_back()
    started = time.perf_counter()
    rows, n_written = finish(rest, probability)
    return rows, time.perf_counter() - started, n_written


def _step_back() -> None:
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

    work: Work[Item, Row]
    sums: StageSums = field(default_factory=StageSums)
    _todo: deque[_Chunk[Item]] = field(default_factory=deque)
    _ready: deque[_Flight[Item]] = field(default_factory=deque)
    _waits: dict[ray.ObjectRef, _Flight[Item]] = field(default_factory=dict)
    _n_bytes: int = 0

    def rows(self, items: Sequence[Item]) -> Iterator[list[Row]]:
        """Yield the rows of each chunk as it is finished, in any order; exactly one row an item.

        Raises:
            LesionWorkflowError: What a stage raised on purpose; wrapped by Ray (see `cluster.session`).
            ClusterError: If actors keep dying.
        """
        size = self.work.chunk_size
        self._todo.extend(_Chunk(items[start : start + size]) for start in range(0, len(items), size))
        load, finish = ray.put(self.work.load), ray.put(self.work.finish)
        pool = ActorPool(self.work.load_model)
        try:
            while self._todo or self._ready or self._waits:
                pool.resize(len(self._todo) + len(self._ready) + len(self._waits))
                self._admit(load, pool)
                self._dispatch(finish, pool)
                yield from self._collect(pool)
        finally:
            self._stop()
            pool.close()

    def _admit(self, load: ray.ObjectRef, pool: ActorPool) -> None:
        """Start to load chunks while there is room for what they bring."""
        n_cpus, store_bytes = _capacity()
        room = BYTES_IN_FLIGHT_FRACTION * store_bytes
        while self._todo and (
            not self._n_in_flight
            or (self._n_in_flight < CHUNKS_A_CPU * n_cpus + 2 * pool.size and self._n_bytes < room)
        ):
            flight = _Flight(self._todo.popleft())
            head, flight.images, flight.rest = _load.options(num_returns=3).remote(load, flight.chunk.items)
            self._waits[head] = flight

    def _dispatch(self, finish: ray.ObjectRef, pool: ActorPool) -> None:
        """Hand loaded chunks to actors that can take them."""
        while self._ready and (place := pool.idlest()):
            flight = self._ready.popleft()
            flight.place = place
            place.waiting.append(flight)
            probability, flight.predicted = place.actor.predict.options(num_returns=2).remote(flight.images)
            flight.rows = _finish.remote(finish, flight.rest, probability)
            self._waits[flight.predicted] = self._waits[flight.rows] = flight

    def _collect(self, pool: ActorPool) -> Iterator[list[Row]]:
        """Wait until something is ready, and take what is."""
        waits = [*self._waits, *pool.loading]
        if not waits:  # every node is gone for the moment
            time.sleep(POLL_S)
            return
        ready, _ = ray.wait(waits, num_returns=len(waits), timeout=0)
        if not ready:
            ready, _ = ray.wait(waits, num_returns=1, timeout=POLL_S)
        for ref in ready:
            flight = self._waits.pop(ref, None)
            if flight is None:
                if ref in pool.loading:
                    pool.note_loaded(ref)
                continue  # of a flight that came down meanwhile
            try:
                rows = self._take(ref, flight, pool)
            except RayError as err:
                if isinstance(err, RayTaskError) and not isinstance(err.cause, RayError):
                    raise  # of our own making
                rows = self._come_down(flight, err, pool)
            if rows:
                yield rows

    def _take(self, ref: ray.ObjectRef, flight: _Flight[Item], pool: ActorPool) -> list[Row]:
        """Take the answer of one stage; return rows if it was the last."""
        answer = ray.get(ref)
        if ref == flight.predicted and flight.place:
            pool.note_answer(flight.place, flight)
            self.sums.add_predicted(answer, flight.n_slices, time.monotonic())
            flight.place, flight.images = None, None
            return []
        if ref == flight.rows:
            rows, seconds, n_written = answer
            self.sums.add_finished(seconds, n_written)
            self._n_bytes -= flight.n_bytes
            return list(rows)
        seconds, flight.n_slices, flight.n_bytes, n_read = answer
        self.sums.add_loaded(seconds, n_read)
        self._n_bytes += flight.n_bytes
        self._ready.append(flight)
        return []

    def _come_down(self, flight: _Flight[Item], err: RayError, pool: ActorPool) -> list[Row]:
        """Put the items of a flight whose process died back to the start; return rows of those already finished."""
        is_blamed = True
        if flight.place and isinstance(err, RayActorError):  # only what the actor worked on may have killed it
            is_blamed = flight.place.waiting[0] is flight
            pool.drop(flight.place, err)
        elif flight.place:
            flight.place.waiting.remove(flight)
        for wait in (flight.predicted, flight.rows):
            self._waits.pop(wait, None)
        self._n_bytes -= flight.n_bytes
        items, n_tries = flight.chunk.items, flight.chunk.n_tries + is_blamed
        done = self.work.recall(items)
        left = [item for place, item in enumerate(items) if place not in done]
        rows = list(done.values())
        if n_tries >= MAX_TRIES and len(left) == 1:
            if self.work.give_up is None:
                raise ClusterError(f"Workers died {n_tries} times over one and the same input: {err}") from err
            rows.append(self.work.give_up(left[0]))
        elif n_tries >= MAX_TRIES:
            self._todo.extendleft(_Chunk([item]) for item in left)
        elif left:
            self._todo.appendleft(_Chunk(left, n_tries))
        return rows

    def _stop(self) -> None:
        """End what is still under way, so that nothing is written after this run."""
        for ref in self._waits:
            ray.cancel(ref)
        if self._waits:
            ray.wait(list(self._waits), num_returns=len(self._waits), timeout=STOP_TIMEOUT_S)

    @property
    def _n_in_flight(self) -> int:
        return len(self._ready) + len({id(flight) for flight in self._waits.values()})


def _capacity() -> tuple[float, float]:
    """Return CPUs and bytes of object store of the cluster as it is now."""
    resources = ray.cluster_resources()
    return resources.get("CPU", 1.0), resources.get("object_store_memory", 0.0)
