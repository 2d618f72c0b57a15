"""Learning rate schedules and the state of early stopping."""

import math
from dataclasses import dataclass

WARMUP_EPOCHS = 0.5
PLATEAU_FACTOR = 0.1
"""Default factor of Keras' ReduceLROnPlateau."""


def warmup_cosine(step: int, *, n_steps: int, steps_per_epoch: int, peak: float) -> float:
    """Return the learning rate of a step: linear warm-up over half an epoch, then cosine decay to zero.

    Source: Goyal et al., arXiv 1706.02677 (warm-up); Loshchilov & Hutter, arXiv 1608.03983 (cosine, no restarts).
    """
    n_warmup = max(1, round(WARMUP_EPOCHS * steps_per_epoch))
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    progress = (step - n_warmup) / max(1, n_steps - n_warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@dataclass(slots=True)
class Plateau:
    """Counter of epochs without a better value, for early stopping and reduce-on-plateau.

    Attributes:
        patience: Number of epochs without a better value to allow.
        best: Best (lowest) value so far.
        n_bad: Epochs since the best value.
    """

    patience: int
    best: float = math.inf
    n_bad: int = 0

    def is_stuck_at(self, value: float) -> bool:
        """Record an epoch's value and return whether the patience is used up; if so, the count restarts."""
        if value < self.best:
            self.best, self.n_bad = value, 0
            return False
        self.n_bad += 1
        if self.n_bad < self.patience:
            return False
        self.n_bad = 0
        return True
