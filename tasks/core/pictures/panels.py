"""Pictures of slices with outlined lesions, and of slices side by side."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

LESION_COLOUR: Final = (255, 64, 64)
LUNG_COLOUR: Final = (48, 170, 150)
MIN_PANEL_PX: Final = 256
GAP_PX: Final = 4

N_GREYS, N_SHADES = 192, 32
"""Levels of plain pixels, and of the grey below each outline: 256 in all, one byte per pixel, which makes writing a
preview five times as fast as three."""
GREY_OF_RGB: Final = (0, -3, 4)
"""Grey of a pixel from its colour, also below an outline: 4 B - 3 G. A page takes outlines off with it, as an SVG
filter, and as it is linear it holds for enlarged pictures, too."""


def _shades(colour: tuple[int, int, int]) -> np.ndarray:
    """Return the colours of an outline over each grey, `(N_SHADES, 3)`: the nearest to `colour` that tell the grey."""
    red, green, blue = colour
    greys = np.rint(np.linspace(0, 255, N_SHADES)).astype(int)
    n = np.arange(-64, 65)[:, np.newaxis]
    greens, blues = green + n, (greys + 3 * (green + n)) / 4
    away = (greens - green) ** 2 + (blues - blue) ** 2 + np.where(blues % 1, np.inf, 0)
    best = away.argmin(axis=0)
    return np.stack([np.full(N_SHADES, red), greens[best, 0], blues[best, np.arange(N_SHADES)]], axis=1)


def _palette() -> np.ndarray:
    greys = np.rint(np.linspace(0, 255, N_GREYS)).repeat(3).reshape(-1, 3)
    palette: np.ndarray = np.concatenate([greys, _shades(LESION_COLOUR), _shades(LUNG_COLOUR)]).astype(np.uint8)
    return palette


PALETTE: Final[np.ndarray] = _palette()
"""Colour of each index, `(256, 3)`: greys from black to white, then the outlines of lesions and of lungs."""


def overlay(image: np.ndarray, *, lesions: np.ndarray, lung: np.ndarray | None = None) -> np.ndarray:
    """Return a slice with the outlines of its masks, below which its greys are kept (`GREY_OF_RGB`).

    Args:
        image: uint8 `(H, W)`.
        lesions: Mask of 0 and 1, `(H, W)`; outlined in red.
        lung: Likewise; outlined in blue-green, below the lesions.

    Returns:
        Indices into `PALETTE`, uint8 `(k H, k W)`, enlarged by a whole number k where the slice is small.
    """
    factor = max(1, -(-MIN_PANEL_PX // max(image.shape)))
    canvas = enlarged(_GREY_INDEX[image], factor)
    shade = enlarged(_SHADE_INDEX[image], factor)
    for mask, first in ((lung, N_GREYS + N_SHADES), (lesions, N_GREYS)):
        if mask is not None:
            is_outline = outline(enlarged(mask, factor)) > 0
            canvas[is_outline] = first + shade[is_outline]
    return canvas


def side_by_side(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Return panels of the same height side by side with a white gap, as indices into `PALETTE`."""
    gap = np.full((panels[0].shape[0], GAP_PX), N_GREYS - 1, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)]
    return np.hstack(parts[1:])


_GREY_INDEX, _SHADE_INDEX = (
    np.rint(np.arange(256) * (levels - 1) / 255).astype(np.uint8) for levels in (N_GREYS, N_SHADES)
)


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask beside a pixel outside it, or at the border, uint8 of 0 and 1.

    What `cv2.drawContours` draws, in a time that does not depend on how ragged the mask is.
    """
    return mask - cv2.erode(mask, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def enlarged(array: np.ndarray, factor: int) -> np.ndarray:
    """Return an array with each pixel as a square of `factor` pixels."""
    return array if factor == 1 else array.repeat(factor, axis=0).repeat(factor, axis=1)
