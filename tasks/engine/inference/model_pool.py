"""Pool of model actors: one per GPU, or one per CPU-only node; each loads the model once and predicts."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import ray
from ray.actor import ActorClass, ActorHandle, ActorProxy
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tasks.core.errors import ClusterError
from tasks.core.precision import ChosenPrecision

logger = logging.getLogger(__name__)

MAX_WAITING = 2
"""Chunks per actor: the current and the next, so that it never waits for the driver."""

CHUNKS_WORTH_AN_ACTOR = 4
MAX_LOSSES_IN_A_ROW = 5
NODES_KNOWN_FOR_S = 5.0
WARN_EVERY_S = 60.0
FIRST_MODEL_WITHIN_S = 1200.0
"""Timeout for the first model, because a GPU node takes minutes to start."""


class Model(Protocol):
    """Model in an actor."""

    @property
    def precision(self) -> ChosenPrecision | None:
        """Floating-point type of its computation; None if it has none."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the probabilities of uint8 slices `(N, size_px, size_px)`, any N, as `Predictor.predict` does."""


@ray.remote(max_restarts=0)
class ModelActor:
    """Actor that holds a model."""

    def __init__(self) -> None:
        self._model: Model | None = None

    @ray.method
    def load(self, load_model: Callable[[], Model]) -> ChosenPrecision | None:
        """Load the model, not in the constructor, whose errors Ray wraps; return its floating-point type."""
        self._model = load_model()
        return self._model.precision

    @ray.method(num_returns=2)
    def predict(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the probabilities and the seconds they took."""
        if self._model is None:
            raise ClusterError("An actor was asked to predict before its model was loaded.")
        started = time.perf_counter()
        probability = self._model.predict(images)
        return probability, time.perf_counter() - started


@dataclass(eq=False, slots=True)
class ActorSlot:
    """Slot of an actor in the pool, with its chunks.

    Attributes:
        actor: The actor.
        node_id: Node it must run on; None = any node with a GPU.
        loading: Reference that is ready once its model is loaded.
        is_loaded: Whether its model is loaded.
        waiting: Chunks assigned to it and not yet predicted; it works on the first.
        is_reserved: Whether no other chunk may wait here.
    """

    actor: "ActorProxy[ModelActor]"
    node_id: str | None
    loading: "ray.ObjectRef[ChosenPrecision | None]"
    is_loaded: bool = False
    waiting: list[object] = field(default_factory=list)
    is_reserved: bool = False


class ActorPool:
    """Pool of model actors, as many as the work needs and the cluster has capacity for."""

    def __init__(self, load_model: Callable[[], Model], n_gpus_asked: int = 0) -> None:
        self._load_model = ray.put(load_model)
        self._n_gpus_asked = n_gpus_asked
        self._slots: list[ActorSlot] = []
        self._n_losses = self._n_broken = 0
        self._opened, self._is_waiting_for_first, self._warned_s = time.monotonic(), True, 0.0
        self._nodes: list[dict[str, Any]] = []  # Any: Ray's own description of a node
        self._nodes_asked = -math.inf

    @property
    def size(self) -> int:
        """Number of actors, loaded or not."""
        return len(self._slots)

    @property
    def loading(self) -> "list[ray.ObjectRef[ChosenPrecision | None]]":
        """References that are ready once another actor is loaded."""
        return [slot.loading for slot in self._slots if not slot.is_loaded]

    def resize(self, n_chunks_left: int) -> None:
        """Start and stop actors to fit the remaining work and the capacity.

        Raises:
            ClusterError: If no model was loaded within the timeout.
        """
        self._check_patience()
        wanted = min(math.ceil(n_chunks_left / CHUNKS_WORTH_AN_ACTOR), self._n_slots())
        while len(self._slots) < wanted:
            self._start()
        for slot in [slot for slot in self._slots if slot.is_loaded and not slot.waiting]:
            if len(self._slots) > max(wanted, 1):
                self._stop(slot)

    def _check_patience(self) -> None:
        """Raise if no model was loaded within the timeout; a requested GPU may never come."""
        waited_s = time.monotonic() - self._opened
        if self._is_waiting_for_first and waited_s > self._warned_s + WARN_EVERY_S:
            self._warned_s = waited_s
            cause = "does the cluster have a GPU, or start one?" if self._n_gpus_asked else "the machine may be busy"
            logger.warning("stream: no model is loaded after %.0f s; %s", waited_s, cause)
        if self._is_waiting_for_first and waited_s > FIRST_MODEL_WITHIN_S:
            raise ClusterError(
                f"No model was loaded within {waited_s:.0f} s. Does the cluster have, or start, GPU nodes?"
            )

    def note_loaded(self, loading: "ray.ObjectRef[ChosenPrecision | None]") -> None:
        """Mark an actor as loaded, or drop one that died while loading.

        Raises:
            ModelError: If the bundle cannot be used.
            ClusterError: If actors keep dying.
        """
        slot = next(slot for slot in self._slots if slot.loading == loading)
        try:
            precision = ray.get(loading)
        except RayTaskError:
            raise
        except RayError as err:
            self.drop(slot, err)
            return
        if self._is_waiting_for_first:
            in_what = f", {precision.reason}" if precision else ""
            logger.info("stream: first model loaded after %.1f s%s", time.monotonic() - self._opened, in_what)
            if precision and precision.warning:
                logger.warning("stream: %s", precision.warning)
            self._is_waiting_for_first = False
        slot.is_loaded = True
        self._n_losses = 0

    def hand(self, what: object, *, is_alone: bool) -> ActorSlot | None:
        """Assign a chunk to the actor with the fewest, and return its slot; None if no actor can take it.

        Args:
            what: A chunk.
            is_alone: Whether no other chunk may wait there, so that a crash can be attributed.
        """
        most = 0 if is_alone else MAX_WAITING - 1
        able = [
            slot
            for slot in self._slots
            if slot.is_loaded and len(slot.waiting) <= most and not (slot.waiting and slot.is_reserved)
        ]
        slot = min(able, key=lambda slot: len(slot.waiting), default=None)
        if slot is not None:
            slot.waiting.append(what)
            slot.is_reserved = is_alone
        return slot

    def note_predicted(self, slot: ActorSlot, what: object) -> None:
        """Record that an actor has predicted its chunk."""
        slot.waiting.remove(what)
        self._n_broken = 0

    def drop(self, slot: ActorSlot, err: RayError, *, is_broken: bool = False) -> None:
        """Remove an actor that died; while predicting, the number is bounded by the attempts of a chunk.

        Args:
            slot: Slot of the actor.
            err: Its error.
            is_broken: Whether it raised an unexpected error instead, perhaps of its accelerator.

        Raises:
            ClusterError: If actors keep dying while they load, or one after the other is broken.
        """
        if slot not in self._slots:
            return
        self._stop(slot)
        self._nodes_asked = -math.inf
        logger.warning("stream: lost an actor, %s", type(err).__name__)
        self._n_losses += not slot.is_loaded
        self._n_broken += is_broken
        if max(self._n_losses, self._n_broken) > MAX_LOSSES_IN_A_ROW + self._n_slots():
            n = max(self._n_losses, self._n_broken)
            raise ClusterError(f"{n} actors died or broke one after the other; the last error: {err}") from err

    def close(self) -> None:
        """Stop every actor."""
        for slot in list(self._slots):
            self._stop(slot)

    def _start(self) -> None:
        actors = cast("ActorClass[ModelActor]", ModelActor)  # mypy leaves the decorator of a class out
        node_id: str | None = None
        if self._n_gpus():
            actor = actors.options(num_gpus=1, num_cpus=0).remote()
        else:
            node_id = self._free_node()
            stay = NodeAffinitySchedulingStrategy(node_id, soft=False)
            n_cpus = min(node["Resources"]["CPU"] for node in self._cpu_nodes())
            # a node of one CPU shares it with the loading tasks, which would never start otherwise
            actor = actors.options(num_cpus=1 if n_cpus >= 2 else 0, scheduling_strategy=stay).remote()
        self._slots.append(ActorSlot(actor, node_id, actor.load.remote(self._load_model)))

    def _stop(self, slot: ActorSlot) -> None:
        self._slots.remove(slot)
        ray.kill(cast("ActorHandle[ModelActor]", slot.actor))  # by Ray's own types a proxy is no handle

    def _free_node(self) -> str:
        """Return the node with the fewest actors."""
        taken = [slot.node_id for slot in self._slots]
        return str(min((node["NodeID"] for node in self._cpu_nodes()), key=taken.count))

    def _n_slots(self) -> int:
        return self._n_gpus() or len(self._cpu_nodes())

    def _n_gpus(self) -> int:
        """Return the number of GPUs, present or requested; actors waiting for one make a cluster grow."""
        return max(int(sum(node["Resources"].get("GPU", 0) for node in self._alive())), self._n_gpus_asked)

    def _cpu_nodes(self) -> list[dict[str, Any]]:  # Any: as above
        return [node for node in self._alive() if node["Resources"].get("CPU", 0) >= 1]

    def _alive(self) -> list[dict[str, Any]]:  # Any: as above
        if time.monotonic() - self._nodes_asked > NODES_KNOWN_FOR_S:
            self._nodes, self._nodes_asked = [node for node in ray.nodes() if node["Alive"]], time.monotonic()
        return self._nodes
