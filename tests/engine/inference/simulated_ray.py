"""A Ray that only pretends: tasks end in a random order, and workers and actors crash, all within one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError

from tasks.engine.inference.model_pool import ActorPool, ActorSlot

N_HELD_PER_SLICE = 10


@dataclass(eq=False)
class Ref:
    """A reference; what it refers to is made when it is fetched."""

    make: Callable[[], Any]
    number: int = 0
    actor: Actor | None = None


@dataclass(eq=False)
class Actor:
    """An actor, with the predictions it was handed and has not ended."""

    world: SimulatedRay
    queue: list[Ref] = field(default_factory=list)
    is_dead: bool = False

    @property
    def load(self) -> Method:
        """Load the model: at once."""
        return Method(lambda _: self.world.ref(lambda: None))

    @property
    def predict(self) -> Method:
        """Predict slices, one call after the other."""
        return Method(self._predict)

    def _predict(self, images: Ref) -> tuple[Ref, Ref]:
        items = images.make()
        seconds = self.world.ref(lambda: self._end(seconds, items), actor=self)
        self.queue.append(seconds)
        return self.world.ref(lambda: [2 * item for item in items]), seconds

    def _end(self, ref: Ref, items: Sequence[int]) -> float:
        if self.is_dead:
            raise RayActorError
        self.queue.remove(ref)
        try:
            self.world.maybe_crash("predict", items)
        except WorkerCrashedError:
            self.is_dead = True
            raise RayActorError from None
        return 1.0


@dataclass
class Method:
    """What has a `remote`, and `options` that are not looked at."""

    remote: Callable[..., Any]

    def options(self, **_: object) -> Method:
        """Return itself."""
        return self


@dataclass
class SimulatedRay:
    """What the stream and its pool use of Ray.

    Attributes:
        rng: Decides what ends first, and what crashes without a reason.
        killers: Items over which a stage ("load", "predict", "finish") crashes, by stage.
        bugs: Items over which a stage raises what nobody meant, by stage.
        crash_fraction: Of all tasks, by chance.
        n_cpus: Of the cluster.
        store_bytes: Of its object store.
        most_in_flight: Most tasks and loading actors at once.
        n_held: Slices that are loaded and not yet finished.
        most_held_at_load: Most of them when a further chunk was begun.
    """

    rng: np.random.Generator
    killers: dict[str, set[int]] = field(default_factory=dict)
    bugs: dict[str, set[int]] = field(default_factory=dict)
    crash_fraction: float = 0.0
    n_cpus: int = 2
    store_bytes: float = 1e9
    most_in_flight: int = 0
    n_held: int = 0
    most_held_at_load: int = 0
    n_refs: int = 0
    fetched: set[int] = field(default_factory=set)

    def ref(self, make: Callable[[], Any], actor: Actor | None = None) -> Ref:
        """Return a new reference."""
        self.n_refs += 1
        return Ref(make, self.n_refs, actor)

    def put(self, value: object) -> Ref:
        """Return a reference to a value."""
        return self.ref(lambda: value)

    def get(self, ref: Ref) -> Any:
        """Return what a reference refers to, or raise what became of its task; once, as all are counted."""
        assert ref.number not in self.fetched
        self.fetched.add(ref.number)
        return ref.make()

    def wait(self, refs: Sequence[Ref], *, num_returns: int, timeout: float) -> tuple[list[Ref], list[Ref]]:
        """Return the references that are ready, at least one where some time is given; an actor does one at a time."""
        self.most_in_flight = max(self.most_in_flight, len(refs))
        able = [ref for ref in refs if ref.actor is None or ref.actor.is_dead or ref.actor.queue[0] is ref]
        ready = [ref for ref in able if self.rng.random() < 0.5]
        return (ready or able[: bool(timeout)])[: num_returns if timeout else None], []

    def cancel(self, _: Ref) -> None:
        """Do nothing: what is in flight is never fetched."""

    def kill(self, actor: Actor) -> None:
        """Let an actor die."""
        actor.is_dead = True

    def cluster_resources(self) -> dict[str, float]:
        """Return CPUs and bytes of object store."""
        return {"CPU": self.n_cpus, "object_store_memory": self.store_bytes}

    def nodes(self) -> list[dict[str, object]]:
        """Return three nodes without a GPU."""
        return [{"Alive": True, "Resources": {"CPU": 2}, "NodeID": str(number)} for number in range(3)]

    def maybe_crash(self, stage: str, items: Sequence[int]) -> None:
        """Raise what Ray raises where a stage crashes or breaks over these items."""
        if self.bugs.get(stage, set()).intersection(items):
            raise RayTaskError("stage", "a traceback", KeyError(1), proctitle="worker", pid=1, ip="127.0.0.1")
        if self.killers.get(stage, set()).intersection(items) or self.rng.random() < self.crash_fraction:
            raise WorkerCrashedError

    def load(self, _: Ref, items: Sequence[int], timeout_s: float | None) -> tuple[Ref, Ref, Ref]:
        """Return head, slices and rest of a chunk: its items."""
        del timeout_s
        self.most_held_at_load = max(self.most_held_at_load, self.n_held)

        def head() -> tuple[float, int, int, int]:
            self.maybe_crash("load", items)
            self.n_held += len(items)
            return 1.0, len(items), N_HELD_PER_SLICE * len(items), 1

        return self.ref(head), self.put(items), self.put(items)

    def finish(self, _: Ref, timeout_s: float | None, *parts: Ref) -> Ref:
        """Return the rows of a group: its items and what was predicted for them."""
        del timeout_s
        pieces = [(parts[start].make(), parts[start + 2].make()) for start in range(0, len(parts), 3)]
        items = [item for loaded, _ in pieces for item in loaded]
        predicted = [value for _, values in pieces for value in values]

        def rows() -> tuple[list[tuple[int, int]], float, int]:
            self.maybe_crash("finish", items)
            self.n_held -= len(items)
            return list(zip(items, predicted, strict=True)), 1.0, len(items)

        return self.ref(rows)

    def pool(self, *_: object) -> ActorPool:
        """Return a pool of simulated actors."""
        world = self

        class Pool(ActorPool):
            def _start(self) -> None:
                actor: Any = Actor(world)
                self._slots.append(ActorSlot(actor, None, actor.load.remote(None)))

        return Pool(lambda: None)  # type: ignore[arg-type,return-value]  # no model is loaded
