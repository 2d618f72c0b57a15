"""Sums over an epoch, and the check that weights and losses are finite."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.core.errors import ModelError
from tasks.core.history import EpochRow, ratios_of
from tasks.core.metrics import Counts
from tasks.core.plural import counted


@dataclass(slots=True)
class EpochSums:
    """Sums over the slices of an epoch; padding has weight 0."""

    n_steps: int = 0
    weight: float = 0.0
    loss: float = 0.0
    counts: Counts = field(default_factory=Counts)
    waited_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    def figures(self, prefix: str) -> EpochRow:
        """Return loss and ratios as columns of the history."""
        return {f"{prefix}_loss": self.loss / max(self.weight, 1.0), **ratios_of(self.counts, prefix)}


def timed(batches: Any) -> Iterator[tuple[float, dict[str, np.ndarray]]]:  # Any: Ray Data's iterable
    """Yield batches, each with the seconds spent waiting for it."""
    waiting_since = time.monotonic()
    for batch in batches:
        yield time.monotonic() - waiting_since, batch
        waiting_since = time.monotonic()


def check_numbers(row: EpochRow, weights: Sequence[np.ndarray]) -> None:
    """Refuse weights or losses that are not finite; ReLU would hide them, and all masks would be empty.

    Raises:
        ModelError: If a weight or a loss is not finite.
    """
    losses = {name: row[name] for name in ("train_loss", "val_loss")}
    n_bad = sum(int(np.count_nonzero(~np.isfinite(values))) for values in weights)
    if n_bad or not all(loss is None or math.isfinite(loss) for loss in losses.values()):
        found = ", ".join(f"{name} {loss}" for name, loss in losses.items())
        raise ModelError(
            f"The training diverged in epoch {row['epoch']}: {counted(n_bad, 'weight')} not finite, {found}. "
            "Set training.learning_rate lower, or training.precision to float32."
        )
