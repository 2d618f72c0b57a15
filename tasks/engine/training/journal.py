"""Journal of a training, which workers write and the driver reads during the training."""

import time
from dataclasses import dataclass
from typing import Final

import ray
from ray.actor import ActorProxy

from tasks.core.history import EpochRow
from tasks.core.precision import ChosenPrecision

Entry = EpochRow | str | ChosenPrecision
"""A finished epoch, a sentence about an event that the user should know, or the floating-point type of the workers."""


MOVE_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Position:
    """Where a training is.

    Attributes:
        epoch: Current epoch, from 1.
        n_steps: Steps of this epoch that are done.
        is_validating: Whether the epoch is being validated.
    """

    epoch: int
    n_steps: int
    is_validating: bool = False


@ray.remote(num_cpus=0)
class Journal:
    """Actor with the finished epochs and the events between them, in order."""

    def __init__(self) -> None:
        self._lines: list[Entry] = []
        self._position: Position | None = None

    @ray.method
    def append(self, line: Entry) -> None:
        """Add an entry."""
        self._lines.append(line)

    @ray.method
    def after(self, n_seen: int) -> list[Entry]:
        """Return the entries after the first `n_seen`."""
        return self._lines[n_seen:]

    @ray.method
    def move(self, position: Position) -> None:
        """Replace the position."""
        self._position = position

    @ray.method
    def position(self) -> Position | None:
        """Return the latest position; None before the first step."""
        return self._position


class Moves:
    """Positions of one worker on their way to the journal, one per second at most."""

    def __init__(self, journal: "ActorProxy[Journal]") -> None:
        self._journal = journal
        self._moved_at = 0.0

    def move(self, position: Position) -> None:
        """Write a position to the journal, unless one was written within the last second."""
        now = time.monotonic()
        if position.is_validating or now - self._moved_at >= MOVE_EVERY_S:
            self._moved_at = now
            self._journal.move.remote(position)
