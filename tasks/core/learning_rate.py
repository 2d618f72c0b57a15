"""How the learning rate moves."""

import math
from dataclasses import dataclass

WARMUP_EPOCHS = 0.5
PLATEAU_FACTOR = 0.1
"""Keras' own default for ReduceLROnPlateau."""


def warmup_cosine(step: int, *, n_steps: int, steps_per_epoch: int, peak: float) -> float:
    """Return the learning rate of a step: linear up over half an epoch, then a half cosine down to zero.

    Source: Goyal et al., arXiv 1706.02677 (warm-up); Loshchilov & Hutter, arXiv 1608.03983 (cosine, no restarts).
    """
    n_warmup = max(1, round(WARMUP_EPOCHS * steps_per_epoch))
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    progress = (step - n_warmup) / max(1, n_steps - n_warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@dataclass(slots=True)
class Plateau:
    """Counts epochs without a better value; the state behind early stopping and reduce-on-plateau.

    Attributes:
        patience: Epochs to wait.
        best: Best (lowest) value so far.
        n_bad: Epochs since then.
    """

    patience: int
    best: float = math.inf
    n_bad: int = 0

    def is_stuck_at(self, value: float) -> bool:
        """Take an epoch's value; say whether the patience has run out, and start to count anew if so."""
        if value < self.best:
            self.best, self.n_bad = value, 0
            return False
        self.n_bad += 1
        if self.n_bad < self.patience:
            return False
        self.n_bad = 0
        return True
