"""Smoothing of probabilities along the axis of a scan: a lesion continues in the neighbouring slices."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

KERNEL = (4, 2, 1)
"""Weights of the slice itself, of each neighbour, and of the slices next to those (measured: infra/docs/accuracy.md).
Integers, so that the mean is exact: rounded half up, on any machine."""


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
        weights = np.array(KERNEL, np.uint16)[np.abs(at[near] - position)]
        summed = np.zeros(probability.shape[1:], np.uint16)  # at most 10 x 255
        for weight, neighbour in zip(weights, near, strict=True):
            summed += weight * probability[neighbour]
        total = int(weights.sum())
        smooth[index] = (2 * summed + total) // (2 * total)
    return smooth


def smooth_cases(probability: np.ndarray, keys: Sequence[tuple[str, int]]) -> np.ndarray:
    """Return the slices of several cases, each smoothed within its case.

    Args:
        probability: uint8 `(N, H, W)`, in units of 1/255.
        keys: Case of each slice, and its index in the volume, ascending within a case.
    """
    of_case: dict[str, list[int]] = defaultdict(list)
    for index, (case_id, _) in enumerate(keys):
        of_case[case_id].append(index)
    smooth = np.empty_like(probability)
    for own in of_case.values():
        smooth[own] = smooth_along_z(probability[own], [keys[index][1] for index in own])
    return smooth
