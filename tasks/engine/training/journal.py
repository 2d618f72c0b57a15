"""Journal of a training: its workers write, the driver reads while the training goes on."""

import ray

from tasks.core.history import EpochRow


@ray.remote(num_cpus=0)
class Journal:
    """Finished epochs, and what happened between two, in order."""

    def __init__(self) -> None:
        self._lines: list[EpochRow | str] = []

    @ray.method
    def append(self, line: EpochRow | str) -> None:
        """Add an epoch, or a sentence on what happened between two."""
        self._lines.append(line)

    @ray.method
    def after(self, n_seen: int) -> list[EpochRow | str]:
        """Return what lies beyond the first `n_seen`."""
        return self._lines[n_seen:]
