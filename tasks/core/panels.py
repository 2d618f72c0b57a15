"""Pictures a radiologist reads: a slice with outlines on it, and slices side by side."""

from typing import Final

import cv2
import numpy as np

PREDICTION_COLOUR: Final = (255, 64, 64)
REFERENCE_COLOUR: Final = (64, 200, 255)
MIN_PANEL_PX: Final = 256


def overlay(image: np.ndarray, *, prediction: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Return a slice with the outlines of its masks; what lies under them stays visible.

    Args:
        image: uint8 `(H, W)`.
        prediction: Mask of 0 and 1, `(H, W)`; outlined in red.
        reference: Mask of 0 and 1, `(H, W)`; outlined in blue.

    Returns:
        uint8 RGB `(k H, k W, 3)`, enlarged by a whole number k where the slice is small.
    """
    factor = max(1, -(-MIN_PANEL_PX // max(image.shape)))
    canvas = cv2.cvtColor(_enlarge(image, factor), cv2.COLOR_GRAY2RGB)
    for mask, colour in ((reference, REFERENCE_COLOUR), (prediction, PREDICTION_COLOUR)):
        if mask is not None:
            contours, _ = cv2.findContours(_enlarge(mask, factor), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(canvas, contours, -1, colour, 1)
    return canvas


def comparison(image: np.ndarray, *, prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return image, prediction and reference side by side, each outlined on the slice but the first.

    Args:
        image: uint8 `(H, W)`.
        prediction: Mask of 0 and 1, `(H, W)`.
        reference: Mask of 0 and 1, `(H, W)`.

    Returns:
        uint8 RGB, three panels wide.
    """
    nothing = np.zeros_like(image)
    panels = [
        overlay(image, prediction=nothing),
        overlay(image, prediction=prediction),
        overlay(image, prediction=nothing, reference=reference),
    ]
    gap = np.full((panels[0].shape[0], 4, 3), 255, np.uint8)
    return np.hstack([panels[0], gap, panels[1], gap, panels[2]])


def _enlarge(array: np.ndarray, factor: int) -> np.ndarray:
    return np.ascontiguousarray(array.repeat(factor, axis=0).repeat(factor, axis=1))
