"""Picture of a slice beside its agreement: true positive, false positive and false negative pixels in colours."""

from typing import Final

import numpy as np

from tasks.core.panels import GAP_PX, MIN_PANEL_PX

AGREEMENT_COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "true positive": (240, 228, 66),
    "false positive": (213, 94, 0),
    "false negative": (86, 180, 233),
}
"""Yellow, vermilion and sky blue, which differ in lightness and hue with any common colour vision, and from grey.

Source: Okabe and Ito, Color universal design, 2008.
"""
OPACITY: Final = 0.7
"""Share of the colour in a coloured pixel; the rest is the slice, so that its structure stays visible."""
N_GREYS, N_SHADES = 130, 42
"""Levels of plain pixels, and of each colour: 256 in all, one byte per pixel."""


def _palette() -> np.ndarray:
    plain = np.linspace(0, 255, N_GREYS).repeat(3).reshape(-1, 3)
    under = np.linspace(0, 255, N_SHADES).repeat(3).reshape(-1, 3)
    colours = [OPACITY * np.array(colour) + (1 - OPACITY) * under for colour in AGREEMENT_COLOURS.values()]
    palette: np.ndarray = np.rint(np.concatenate([plain, *colours])).astype(np.uint8)
    return palette


AGREEMENT_PALETTE: Final[np.ndarray] = _palette()
"""Colour of each index, `(256, 3)`: greys, then shades of each colour."""


def agreement(image: np.ndarray, *, prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return a slice, and beside it the same slice with its agreement in colours.

    Args:
        image: uint8 `(H, W)`.
        prediction: Mask of 0 and 1, `(H, W)`.
        reference: Likewise.

    Returns:
        Indices into `AGREEMENT_PALETTE`, uint8 `(k H, 2 k W + gap)`; a small slice is enlarged by a whole number k.
    """
    grey, shade = (np.rint(image * ((levels - 1) / 255)).astype(np.uint8) for levels in (N_GREYS, N_SHADES))
    coloured = grey.copy()
    parts = (prediction & reference, prediction & ~reference & 1, reference & ~prediction & 1)
    for number, part in enumerate(parts):
        is_part = part > 0
        coloured[is_part] = N_GREYS + number * N_SHADES + shade[is_part]
    factor = max(1, -(-MIN_PANEL_PX // max(image.shape)))
    left, right = (panel.repeat(factor, axis=0).repeat(factor, axis=1) for panel in (grey, coloured))
    return np.hstack([left, np.full((len(left), GAP_PX), N_GREYS - 1, np.uint8), right])
