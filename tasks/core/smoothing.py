"""Smoothing of probabilities along the axis of a scan: a lesion continues in the neighbouring slices."""

from collections.abc import Sequence

import numpy as np

KERNEL = (0.4, 0.2, 0.1)
"""Weight of the slice itself, of each neighbour, and of the slices next to those (measured: infra/docs/accuracy.md)."""


def smooth_along_z(probability: np.ndarray, positions: Sequence[int] | None = None) -> np.ndarray:
    """Return the weighted mean of each slice and its neighbours; a neighbour that is missing has no weight.

    Args:
        probability: uint8 `(N, H, W)`, in units of 1/255, in the order of the positions.
        positions: Index of each slice in its volume, ascending; None = without gaps.

    Returns:
        uint8, same shape and unit.
    """
    at = np.arange(len(probability)) if positions is None else np.asarray(positions)
    smooth = np.empty_like(probability)
    for index, position in enumerate(at):
        near = np.flatnonzero(np.abs(at - position) < len(KERNEL))
        weights = np.array(KERNEL, np.float32)[np.abs(at[near] - position)]
        mean = np.tensordot(weights / weights.sum(), probability[near].astype(np.float32), axes=1)
        smooth[index] = np.rint(mean)
    return smooth
