"""Between a slice's own grid and the model's square, and back."""

import cv2
import numpy as np


def resize_slice(image: np.ndarray, size_px: int) -> np.ndarray:
    """Resize a slice to a square; area averaging when it shrinks, so that thin structures do not alias.

    Args:
        image: uint8 `(H, W)`.
        size_px: Side of the square.

    Returns:
        uint8 `(size_px, size_px)`.
    """
    return resize_slice_to(image, (size_px, size_px))


def resize_slice_to(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a slice, uint8 `(H, W)`, to any (H, W)."""
    return _resize(image, shape)


def resize_mask(mask: np.ndarray, size_px: int) -> np.ndarray:
    """Resize a binary mask to a square: a pixel is lesion where at least half of what it covers is.

    Args:
        mask: uint8 `(H, W)` of 0 and 1.
        size_px: Side of the square.

    Returns:
        uint8 `(size_px, size_px)` of 0 and 1.
    """
    if mask.shape == (size_px, size_px):
        return mask
    return (_resize(mask.astype(np.float32), (size_px, size_px)) >= 0.5).astype(np.uint8)


def restore_probability(probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring the model's answer back to the slice's own grid.

    Args:
        probability: uint8 `(size_px, size_px)`, in units of 1/255.
        shape: (H, W) of the slice.

    Returns:
        uint8 `(H, W)`, in units of 1/255.
    """
    return _resize(probability, shape)


def _resize(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if array.shape == shape:
        return array
    height, width = shape
    shrinks = height * width < array.shape[0] * array.shape[1]
    return cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
