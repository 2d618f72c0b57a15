"""Labels of training slices: one bit per output of the network, so that augmentation moves all of them alike."""

import numpy as np

LESION, LUNG = 1, 2
"""Bits of the lesion and of the lung."""


def pack_labels(mask: np.ndarray, lung: np.ndarray | None) -> np.ndarray:
    """Return the labels of a slice, uint8 `(H, W)`.

    Args:
        mask: Lesion mask of 0 and 1, uint8 `(H, W)`.
        lung: Lung mask, likewise; None if the slice has none.
    """
    return mask * np.uint8(LESION) if lung is None else mask * np.uint8(LESION) | lung * np.uint8(LUNG)


def lesion_of(labels: np.ndarray) -> np.ndarray:
    """Return the lesion mask of labels, uint8 of 0 and 1, same shape."""
    return (labels & LESION) // LESION


def lung_of(labels: np.ndarray) -> np.ndarray:
    """Return the lung mask of labels, likewise; zero for a slice without one."""
    return (labels & LUNG) // LUNG
