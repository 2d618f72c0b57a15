"""Chunk of slices between the stages load, predict and finish."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Loaded:
    """Loaded chunk: the result of `load`.

    Attributes:
        images: Slices uint8 `(N, size_px, size_px)`, any N.
        rest: Everything else that `finish` needs.
        n_held: Bytes of the rest in memory.
        n_read: Bytes read from storage.
    """

    images: np.ndarray
    rest: Any  # Any: passes from load to finish
    n_held: int
    n_read: int


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predicted chunk: the input of `finish`.

    Attributes:
        images: Its slices, as loaded.
        rest: Everything else from `load`.
        probability: Lesion probabilities of each slice, uint8 `(N, size_px, size_px)`, in units of 1/255.
        lung: Lung probabilities, likewise; None if the model has no such output.
    """

    images: np.ndarray
    rest: Any  # Any: passes from load to finish
    probability: np.ndarray
    lung: np.ndarray | None = None

    @classmethod
    def of(cls, images: np.ndarray, rest: Any, outputs: np.ndarray) -> "Predicted":  # Any: as above
        """Return the chunk from the outputs of a model, uint8 `(n_outputs, N, size_px, size_px)`."""
        return cls(images, rest, outputs[0], outputs[1] if len(outputs) > 1 else None)
