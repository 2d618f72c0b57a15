"""Journal of a training, which workers write and the driver reads during the training."""

import ray

from tasks.core.history import EpochRow


@ray.remote(num_cpus=0)
class Journal:
    """Actor with the finished epochs and the events between them, in order."""

    def __init__(self) -> None:
        self._lines: list[EpochRow | str] = []

    @ray.method
    def append(self, line: EpochRow | str) -> None:
        """Add an epoch, or a sentence about an event."""
        self._lines.append(line)

    @ray.method
    def after(self, n_seen: int) -> list[EpochRow | str]:
        """Return the entries after the first `n_seen`."""
        return self._lines[n_seen:]
