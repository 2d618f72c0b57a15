"""Picture of a slice beside its overlap of masks: true positive, false positive and false negative areas in colours."""

from typing import Final

import numpy as np

from tasks.core.pictures.panels import GAP_PX, MIN_PANEL_PX, enlarged, outline

OVERLAP_COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "true positive": (240, 228, 66),
    "false positive": (213, 94, 0),
    "false negative": (86, 180, 233),
}
"""Yellow, vermilion and sky blue, which differ in lightness and hue with any common colour vision, and from grey.

Source: Okabe and Ito, Color universal design, 2008.
"""
OPACITY: Final = 0.2
"""Share of the colour inside an area, the rest is the slice: a lesion is seen below it, and so is its edge. The area's
own outline has the pure colour."""
N_GREYS, N_SHADES = 127, 42
"""Levels of plain pixels, and of the inside of each area; with three outlines 256 in all, one byte per pixel."""


def _palette() -> np.ndarray:
    plain, under = (np.linspace(0, 255, levels).repeat(3).reshape(-1, 3) for levels in (N_GREYS, N_SHADES))
    colours = np.array(list(OVERLAP_COLOURS.values()))
    insides = [OPACITY * colour + (1 - OPACITY) * under for colour in colours]
    palette: np.ndarray = np.rint(np.concatenate([plain, *insides, colours])).astype(np.uint8)
    return palette


OVERLAP_PALETTE: Final[np.ndarray] = _palette()
"""Colour of each index, `(256, 3)`: greys, shades of the inside of each area, and the outlines."""


def overlap_picture(image: np.ndarray, *, prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return a slice, and beside it the same slice with the overlap of its masks outlined in colours.

    Args:
        image: uint8 `(H, W)`.
        prediction: Mask of 0 and 1, `(H, W)`.
        reference: Likewise.

    Returns:
        Indices into `OVERLAP_PALETTE`, uint8 `(k H, 2 k W + gap)`; a small slice is enlarged by a whole number k.
    """
    factor = max(1, -(-MIN_PANEL_PX // max(image.shape)))
    grey, shade = (
        enlarged(np.rint(image * ((levels - 1) / 255)).astype(np.uint8), factor) for levels in (N_GREYS, N_SHADES)
    )
    coloured = grey.copy()
    parts = (prediction & reference, prediction & ~reference & 1, reference & ~prediction & 1)
    for number, part in enumerate(enlarged(part, factor) for part in parts):
        is_part = part > 0
        coloured[is_part] = N_GREYS + number * N_SHADES + shade[is_part]
        coloured[outline(part) > 0] = N_GREYS + len(parts) * N_SHADES + number
    return np.hstack([grey, np.full((len(grey), GAP_PX), N_GREYS - 1, np.uint8), coloured])
