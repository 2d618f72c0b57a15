"""Turns of a picture by its EXIF orientation (EXIF 2.32, 4.6.4 A; TIFF 6.0, Orientation)."""

from collections.abc import Callable
from typing import Final

import numpy as np

STORED: Final = 1
"""Orientation of a picture that is shown as it is stored."""

_TURNS: Final[dict[int, Callable[[np.ndarray], np.ndarray]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
_INVERSE: Final = {6: 8, 8: 6}


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return stored pixels, `(H, W)` or `(H, W, channels)`, as they are to be shown."""
    turn = _TURNS.get(orientation)
    return np.ascontiguousarray(turn(pixels) if turn else pixels)


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return shown pixels as they are stored: the inverse of `turned`."""
    return turned(pixels, _INVERSE.get(orientation, orientation))
