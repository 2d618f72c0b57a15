"""A chunk of slices between load, predict and finish: what the stages hand to the engine and get back."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `load` makes of a chunk.

    Attributes:
        images: Slices uint8 `(N, size_px, size_px)`, any N.
        rest: What `finish` needs besides.
        n_held: Bytes the rest holds in memory.
        n_read: Bytes read from storage.
    """

    images: np.ndarray
    rest: Any  # Any: passes from load to finish
    n_held: int
    n_read: int


@dataclass(frozen=True, slots=True)
class Predicted:
    """A chunk as `finish` gets it.

    Attributes:
        images: Its slices, as loaded.
        rest: What else `load` made of it.
        probability: Of each slice, uint8 `(N, size_px, size_px)`, in units of 1/255.
    """

    images: np.ndarray
    rest: Any  # Any: passes from load to finish
    probability: np.ndarray
