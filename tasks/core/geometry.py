"""Resizing of slices, masks and probabilities between the source grid and the model's input."""

import cv2
import numpy as np

from tasks.core.volumes import Grid

ROUNDING = 1e-4
"""Rounding error of float32 when hundreds of pixels are averaged."""


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
    """Resize a binary mask to a square: a pixel is lesion if at least half of its area is.

    Args:
        mask: uint8 `(H, W)` of 0 and 1.
        size_px: Side of the square.

    Returns:
        uint8 `(size_px, size_px)` of 0 and 1.
    """
    if mask.shape == (size_px, size_px):
        return mask
    covered = _resize(mask.astype(np.float32), (size_px, size_px), enlarge=cv2.INTER_NEAREST_EXACT)
    return (covered >= 0.5 - ROUNDING).astype(np.uint8)


def resized_grid(read: Grid, size_px: int) -> Grid:
    """Return the grid of slices that `resize_slice` has brought to a square.

    The edges of a slice stay where they are; so the centre of its first pixel moves by half the change of a pixel's
    side.

    Args:
        read: Grid of the slices in reading orientation, as `Grid.as_read` returns it.
        size_px: Side of the square.
    """
    n_slices, height, width = read.shape
    to_source = np.diag([1.0, height / size_px, width / size_px, 1.0])
    to_source[1:3, 3] = (np.array([height, width]) / size_px - 1) / 2
    return Grid((n_slices, size_px, size_px), read.affine @ to_source)


def restore_probability(probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize predicted probabilities to the source grid of a slice.

    Args:
        probability: uint8 `(size_px, size_px)`, in units of 1/255.
        shape: (H, W) of the slice.

    Returns:
        uint8 `(H, W)`, in units of 1/255.
    """
    return _resize(probability, shape)


def _resize(array: np.ndarray, shape: tuple[int, int], *, enlarge: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Resize by area averaging along shrinking axes, then by `enlarge` along growing ones."""
    height, width = shape
    smaller = (min(height, array.shape[0]), min(width, array.shape[1]))
    if smaller != array.shape:
        array = cv2.resize(array, smaller[::-1], interpolation=cv2.INTER_AREA)
    if shape != array.shape:
        array = cv2.resize(array, (width, height), interpolation=enlarge)
    return array
