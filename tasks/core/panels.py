"""Pictures of slices with outlined lesions, and of slices side by side."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

PREDICTION_COLOUR: Final = (255, 64, 64)
REFERENCE_COLOUR: Final = (64, 200, 255)
LUNG_COLOUR: Final = (96, 160, 96)
MIN_PANEL_PX: Final = 256
GAP_PX: Final = 4

N_GREYS: Final = 253
LUNG_INDEX, REFERENCE_INDEX, PREDICTION_INDEX = range(N_GREYS, 256)
_GREY_RAMP = np.rint(np.arange(N_GREYS)[:, np.newaxis] * 255 / (N_GREYS - 1)).repeat(3, axis=1)
PALETTE: Final[np.ndarray] = np.concatenate([_GREY_RAMP, [LUNG_COLOUR, REFERENCE_COLOUR, PREDICTION_COLOUR]]).astype(
    np.uint8
)
"""Colour of each index, `(256, 3)`: greys from black to white, then the outlines. One byte per pixel instead of
three makes writing a preview five times as fast; greys are off by one level at most."""


def overlay(
    image: np.ndarray,
    *,
    prediction: np.ndarray,
    reference: np.ndarray | None = None,
    lung: np.ndarray | None = None,
) -> np.ndarray:
    """Return a slice with the outlines of its masks.

    Args:
        image: uint8 `(H, W)`.
        prediction: Mask of 0 and 1, `(H, W)`; outlined in red.
        reference: Mask of 0 and 1, `(H, W)`; outlined in blue.
        lung: Mask of 0 and 1, `(H, W)`; outlined in green, below the others.

    Returns:
        Indices into `PALETTE`, uint8 `(k H, k W)`, enlarged by a whole number k where the slice is small.
    """
    factor = max(1, -(-MIN_PANEL_PX // max(image.shape)))
    canvas = _enlarge(_GREY_INDEX[image], factor)
    for mask, index in ((lung, LUNG_INDEX), (reference, REFERENCE_INDEX), (prediction, PREDICTION_INDEX)):
        if mask is not None:
            canvas[_outline(_enlarge(mask, factor)) > 0] = index
    return canvas


def side_by_side(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Return panels of the same height side by side with a white gap, as indices into `PALETTE`."""
    gap = np.full((panels[0].shape[0], GAP_PX), N_GREYS - 1, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)]
    return np.hstack(parts[1:])


_GREY_INDEX = np.rint(np.arange(256) * (N_GREYS - 1) / 255).astype(np.uint8)


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def _outline(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask beside a pixel outside it, or at the border, uint8 of 0 and 1.

    What `cv2.drawContours` draws, in a time that does not depend on how ragged the mask is.
    """
    return mask - cv2.erode(mask, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def _enlarge(array: np.ndarray, factor: int) -> np.ndarray:
    return array if factor == 1 else array.repeat(factor, axis=0).repeat(factor, axis=1)
