"""What a prediction stream is given to do, and the pieces it does it in.

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
"""Items, or one piece of one, to slices."""
Finish = Callable[[Sequence[Predicted]], tuple[list[Row], int]]
"""The predicted chunks of a group to its rows and the bytes written."""


@dataclass(frozen=True, slots=True)
class PredictionSpec(Generic[Item, Row]):
    """What is done with items; every part is pickled and called in a worker, but `cut`, `recall` and `give_up`.

    Attributes:
        load: Items, or one piece of one, to slices.
        load_model: Makes the model, in an actor.
        finish: The predicted chunks of a group to rows, one per item, and bytes written: one chunk of whole items, or
            all pieces of one item, in order.
        chunk_slices: Slices that whole items share a chunk up to.
        n_slices: How many slices an item has, as far as is known.
        cut: Pieces of an item, each to be loaded and predicted apart; most items are one.
        recall: Rows of items that an earlier try already finished, by their index among those asked for.
        give_up: The row of an item whose workers keep dying, or that a stage keeps raising an error over which nobody
            meant, and that as a refusal; without it the run ends there.
        n_gpus: To ask the cluster for, which may have to start them; 0 takes what is there.
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

    def groups(self, items: Sequence[Item]) -> "Iterator[ChunkGroup[Item]]":
        """Yield items in groups: those of several pieces alone, the others together up to `chunk_slices`."""
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
    """Where a chunk is on its way through a stream."""

    WAITING = auto()
    """To be loaded."""
    LOADING = auto()
    LOADED = auto()
    """Its slices are in the object store; no actor has it yet."""
    PREDICTING = auto()
    PREDICTED = auto()
    """Kept until its whole group is."""
    FINISHING = auto()
    """With its whole group, which the chunk that was predicted last stands for."""
    DROPPED = auto()
    """Its group was requeued; what is still in flight for it is discarded on arrival."""


@dataclass(eq=False, slots=True)
class ChunkGroup(Generic[Item]):
    """Items that are finished together.

    Attributes:
        items: Whole.
        parts: What is loaded and predicted apart.
        n_tries: How often a crash was blamed on it.
        is_suspect: Whether it is predicted alone on its actor, so that a crash there is certainly its own.
        n_bytes: What its chunks hold in the object store.
        chunks: One per part.
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
        """Whether every chunk is."""
        return all(chunk.state is ChunkState.PREDICTED for chunk in self.chunks)

    def drop(self) -> None:
        """Drop its chunks, wherever they are."""
        for chunk in self.chunks:
            chunk.state = ChunkState.DROPPED
            chunk.release()


@dataclass(eq=False, slots=True)
class Chunk(Generic[Item]):
    """What is loaded and predicted in one go.

    Attributes:
        group: It belongs to.
        items: Its items, or its piece of one.
        state: Where it is.
        images: Its slices, in the object store.
        rest: What else `finish` needs of it, in the object store.
        n_slices: Of its items, once they are loaded.
        slot: The actor that predicts it, as long as it does.
        probability: In the object store.
    """

    group: ChunkGroup[Item]
    items: Sequence[Item]
    state: ChunkState = ChunkState.WAITING
    images: "ray.ObjectRef[np.ndarray] | None" = None
    rest: "ray.ObjectRef[Any] | None" = None  # Any: passes from load to finish
    n_slices: int = 0
    slot: ActorSlot | None = None
    probability: "ray.ObjectRef[np.ndarray] | None" = None

    def release(self) -> None:
        """Let the object store have its memory back; a task that was handed a reference still keeps what it needs."""
        self.images = self.rest = self.probability = None
