"""What a prediction stream is given to do, and the pieces it does it in.

Small items share a chunk of slices; a long one is cut into several, so that it is loaded while it is predicted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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


@dataclass(eq=False, slots=True)
class ChunkGroup(Generic[Item]):
    """Items that are finished together.

    Attributes:
        items: Whole.
        parts: What is loaded and predicted apart.
        n_tries: How often it came down.
        is_suspect: Whether it is predicted alone on its actor, so that what dies over it is known to.
        predicted: Chunks that are, by number: images, rest and probability in the object store.
        n_bytes: What it holds there.
        is_aborted: Whether a process died under it; what is still under way for it is dropped when it comes.
    """

    items: Sequence[Item]
    parts: Sequence[Sequence[Item]]
    n_tries: int = 0
    is_suspect: bool = False
    predicted: "dict[int, tuple[ray.ObjectRef[Any] | None, ...]]" = field(default_factory=dict)  # Any: all three
    n_bytes: int = 0
    is_aborted: bool = False

    def chunks(self) -> "list[Chunk[Item]]":
        """Return its chunks, ready to go."""
        return [Chunk(self, number) for number in range(len(self.parts))]


@dataclass(eq=False, slots=True)
class Chunk(Generic[Item]):
    """A chunk under way.

    Attributes:
        group: It belongs to.
        number: Of the chunk in the group.
        images: Its slices, in the object store.
        rest: What else `finish` needs of it, in the object store.
        n_slices: Of its items.
        slot: The actor that predicts it.
        probability: In the object store.
    """

    group: ChunkGroup[Item]
    number: int
    images: "ray.ObjectRef[np.ndarray] | None" = None
    rest: "ray.ObjectRef[Any] | None" = None  # Any: passes from load to finish
    n_slices: int = 0
    slot: ActorSlot | None = None
    probability: "ray.ObjectRef[np.ndarray] | None" = None

    @property
    def items(self) -> Sequence[Item]:
        """Its items, or its piece of one."""
        return self.group.parts[self.number]
