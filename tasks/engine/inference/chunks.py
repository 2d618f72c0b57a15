"""Specification of a prediction stream, and its chunks.

Small items share a chunk of slices; a long one is cut into several, so that it is loaded while it is predicted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field
from enum import Enum, auto
from typing import Any, Generic, TypeVar

import numpy as np
import ray

from tasks.core.errors import DataError
from tasks.engine.inference.model_pool import ActorSlot, Model
from tasks.stages.chunk import Loaded, Predicted

Item = TypeVar("Item")
Row = TypeVar("Row")

Load = Callable[[Sequence[Item]], Loaded]
"""Stage load: from items, or one piece of an item, to slices."""
Finish = Callable[[Sequence[Predicted]], tuple[list[Row], int]]
"""Stage finish: from the predicted chunks of a group to its rows and the bytes written."""


@dataclass(frozen=True, slots=True)
class PredictionSpec(Generic[Item, Row]):
    """Specification of a prediction stream; all functions but `cut`, `recall` and `give_up` run in workers.

    Attributes:
        load: Function from items, or one piece of an item, to slices.
        load_model: Function that loads the model, in an actor.
        finish: Function from the predicted chunks of a group (one chunk of whole items, or all pieces of one item, in
            order) to one row per item and the bytes written.
        chunk_slices: Number of slices up to which whole items share a chunk.
        n_slices: Number of slices of an item, as far as it is known.
        cut: Function from an item to its pieces, each loaded and predicted separately; most items are one piece.
        recall: Function from items to rows that an earlier attempt already finished, by index.
        give_up: Function from an item whose workers keep dying, or that triggers a bug, to its row; without it the run
            fails.
        n_gpus: Number of GPUs to request from the cluster; 0 = use those that are there.
        timeout_s: Seconds after which a worker that loads or finishes is ended; None = never.
    """

    load: Load[Item]
    load_model: Callable[[], Model]
    finish: Finish[Row]
    chunk_slices: int
    n_slices: Callable[[Item], int] = lambda _: 1
    cut: Callable[[Item], Sequence[Item]] = lambda item: [item]
    recall: Callable[[Sequence[Item]], dict[int, Row]] = lambda _: {}
    give_up: Callable[[Item, DataError | None], Row] | None = None
    n_gpus: int = 0
    timeout_s: float | None = None

    def groups(self, items: Sequence[Item]) -> "Iterator[ChunkGroup[Item]]":
        """Yield items in groups: an item of several pieces alone, others together up to `chunk_slices`."""
        together: list[Item] = []
        n_slices = 0
        for item in items:
            pieces = self.cut(item)
            if len(pieces) > 1:
                yield ChunkGroup([item], [[piece] for piece in pieces])
                continue
            if together and n_slices + self.n_slices(item) > self.chunk_slices:
                yield ChunkGroup(together, [together])
                together, n_slices = [], 0
            together.append(item)
            n_slices += self.n_slices(item)
        if together:
            yield ChunkGroup(together, [together])


class ChunkState(Enum):
    """State of a chunk in a stream."""

    WAITING = auto()
    """Not loaded yet."""
    LOADING = auto()
    LOADED = auto()
    """Loaded into the object store, and not yet assigned to an actor."""
    PREDICTING = auto()
    PREDICTED = auto()
    """Predicted, and kept until its whole group is."""
    FINISHING = auto()
    """In the stage finish, with its whole group, which the last predicted chunk represents."""
    DROPPED = auto()
    """Dropped, because its group was requeued; results of running tasks are discarded."""


@dataclass(eq=False, slots=True)
class ChunkGroup(Generic[Item]):
    """Group of chunks whose items are finished together.

    Attributes:
        items: Whole items.
        parts: Parts that are loaded and predicted separately.
        n_tries: Number of crashes attributed to it.
        is_suspect: Whether it is predicted alone on its actor, so that a crash there is certainly its own.
        n_bytes: Bytes of its chunks in the object store.
        chunks: One chunk per part.
    """

    items: Sequence[Item]
    parts: InitVar[Sequence[Sequence[Item]]]
    n_tries: int = 0
    is_suspect: bool = False
    n_bytes: int = 0
    chunks: "list[Chunk[Item]]" = field(init=False)

    def __post_init__(self, parts: Sequence[Sequence[Item]]) -> None:
        self.chunks = [Chunk(self, part) for part in parts]

    @property
    def is_predicted(self) -> bool:
        """Whether every chunk is predicted."""
        return all(chunk.state is ChunkState.PREDICTED for chunk in self.chunks)

    def drop(self) -> None:
        """Drop its chunks in any state."""
        for chunk in self.chunks:
            chunk.state = ChunkState.DROPPED
            chunk.release()


@dataclass(eq=False, slots=True)
class Chunk(Generic[Item]):
    """Chunk of slices that is loaded and predicted together.

    Attributes:
        group: Its group.
        items: Its items, or its piece of an item.
        state: Its state.
        images: Its slices, in the object store.
        rest: Everything else `finish` needs, in the object store.
        n_slices: Number of its slices, once loaded.
        given_s: Time at which it was last given to a worker, seconds of the monotonic clock.
        slot: Actor that predicts it, while it does.
        probability: Its probabilities, in the object store.
    """

    group: ChunkGroup[Item]
    items: Sequence[Item]
    state: ChunkState = ChunkState.WAITING
    images: "ray.ObjectRef[np.ndarray] | None" = None
    rest: "ray.ObjectRef[Any] | None" = None  # Any: passes from load to finish
    n_slices: int = 0
    given_s: float = 0.0
    slot: ActorSlot | None = None
    probability: "ray.ObjectRef[np.ndarray] | None" = None

    def release(self) -> None:
        """Free its memory in the object store; tasks keep what they have references to."""
        self.images = self.rest = self.probability = None
