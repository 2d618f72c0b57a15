"""Surface distances between the masks of a case: how far the outlines of prediction and reference are apart.

A boundary voxel is a lesion voxel with a face that is not lesion, or at the edge of the array. Each is measured to the
nearest boundary voxel of the other mask. All boundary voxels count alike, whatever the spacing.

Source of the definitions: Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 2024,
doi:10.1038/s41592-023-02151-z; tolerance: Nikolov et al., arXiv 1809.04430.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from tasks.core.lesions import bounding_box

ROUNDING = 1e-6
"""Slack of a tolerance: seven steps of 0.8 mm are not 5.6 mm in floating point."""


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """Distance of every boundary voxel to the other mask's boundary, infinite where the other mask is empty.

    Attributes:
        to_reference: Of the prediction, float64 `(n,)`, in mm, or in px of slices without spacing.
        to_prediction: Of the reference, likewise.
    """

    to_reference: np.ndarray
    to_prediction: np.ndarray

    @property
    def sides(self) -> list[np.ndarray]:
        """Finite distances of each mask that has some."""
        found = (distances[np.isfinite(distances)] for distances in (self.to_reference, self.to_prediction))
        return [distances for distances in found if distances.size]

    def within(self, tolerance: float) -> float | None:
        """Return the share of both boundaries within a tolerance (NSD); None if both masks are empty."""
        together = np.concatenate([self.to_reference, self.to_prediction])
        return float(np.mean(together <= tolerance + ROUNDING)) if together.size else None

    def percentile(self, percent: float) -> float | None:
        """Return the larger of both masks' percentiles; None where no distance is finite."""
        return max((float(np.percentile(side, percent)) for side in self.sides), default=None)

    def mean(self) -> float | None:
        """Return the mean of both masks' mean distances; None where no distance is finite."""
        return float(np.mean([side.mean() for side in self.sides])) if self.sides else None


def volume_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, float, float]
) -> SurfaceDistances:
    """Return the distances in a volume, in mm.

    Args:
        prediction: Mask of 0 and 1, `(D, H, W)`.
        reference: Likewise.
        spacing_mm: Spacing along (D, H, W).
    """
    return _between(_boundary(prediction) * spacing_mm, _boundary(reference) * spacing_mm)


def slice_distances(prediction: np.ndarray, reference: np.ndarray) -> SurfaceDistances:
    """Return the distances within each slice, in px, because the distance between slices is not known.

    Args:
        prediction: Mask of 0 and 1, `(D, H, W)`.
        reference: Likewise.
    """
    parts = [
        _between(_boundary(one).astype(float), _boundary(other).astype(float))
        for one, other in zip(prediction, reference, strict=True)
    ]
    return SurfaceDistances(
        np.concatenate([part.to_reference for part in parts]), np.concatenate([part.to_prediction for part in parts])
    )


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Return the places of the boundary voxels, int64 `(n, dimensions)`."""
    box = bounding_box(mask)
    if box is None:
        return np.empty((0, mask.ndim), np.int64)
    inside = mask[box] > 0
    places: np.ndarray = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    places += [side.start for side in box]
    return places


def _between(prediction: np.ndarray, reference: np.ndarray) -> SurfaceDistances:
    """Return the distances between two sets of points, float64 `(n, dimensions)`."""
    if not len(prediction) or not len(reference):
        return SurfaceDistances(np.full(len(prediction), np.inf), np.full(len(reference), np.inf))
    return SurfaceDistances(cKDTree(reference).query(prediction)[0], cKDTree(prediction).query(reference)[0])
