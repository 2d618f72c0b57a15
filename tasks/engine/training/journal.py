"""Journal of a training, which workers write and the driver reads during the training."""

import ray

from tasks.core.history import EpochRow
from tasks.core.precision import ChosenPrecision

Entry = EpochRow | str | ChosenPrecision
"""A finished epoch, a sentence about an event that the user should know, or the floating-point type of the workers."""


@ray.remote(num_cpus=0)
class Journal:
    """Actor with the finished epochs and the events between them, in order."""

    def __init__(self) -> None:
        self._lines: list[Entry] = []

    @ray.method
    def append(self, line: Entry) -> None:
        """Add an entry."""
        self._lines.append(line)

    @ray.method
    def after(self, n_seen: int) -> list[Entry]:
        """Return the entries after the first `n_seen`."""
        return self._lines[n_seen:]
