"""Fading of lesions in training slices: pale ones are rare in a dataset, and are what networks miss."""

import cv2
import numpy as np

RING_PX = 8
"""Width of the ring around lesions in which healthy lung is looked for."""
MIN_RING_PX = 30
"""Fewest pixels of healthy lung in it; a slice with fewer is left as it is."""
_TEXTURE_SIGMA_PX, _EDGE_SIGMA_PX = 2.0, 1.0


def fade_lesions(image: np.ndarray, lesion: np.ndarray, *, fraction: float) -> np.ndarray:
    """Return a slice whose lesions differ less from the lung around them.

    Only what is smooth is lowered: vessels and noise inside a lesion stay, so that it is not known by their absence.
    Healthy lung is what is darker than the lesions in a ring around them, which leaves out chest wall and heart.

    Args:
        image: uint8 `(H, W)`.
        lesion: uint8 of 0 and 1, `(H, W)`.
        fraction: Fraction of the difference that is taken away, 0 to 1.

    Returns:
        uint8 `(H, W)`; the slice itself if it shows no lesion, or no lung around it.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), _TEXTURE_SIGMA_PX)
    inside = lesion > 0
    ring = (cv2.dilate(lesion, _RING) > 0) & ~inside
    healthy = smooth[ring & (smooth < np.median(smooth[inside]))] if inside.any() else smooth[:0]
    if healthy.size < MIN_RING_PX:
        return image
    difference = np.maximum(smooth - np.median(healthy), 0)
    soft = cv2.GaussianBlur(lesion.astype(np.float32), (0, 0), _EDGE_SIGMA_PX)
    faded: np.ndarray = np.clip(np.rint(image - fraction * soft * difference), 0, 255).astype(np.uint8)
    return faded


_RING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RING_PX + 1, 2 * RING_PX + 1))
