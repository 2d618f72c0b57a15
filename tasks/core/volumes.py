"""A scan in memory: voxels on the grid they were stored on, and what their values mean."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.core.errors import DataError
from tasks.core.grids import Grid

Unit = Literal["hu", "grey"]
MIN_AIR_HU = -200.0
"""A CT of a chest holds air, far below water: values that never get there are no Hounsfield units."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A scan.

    Attributes:
        voxels: Stored array, of the grid's shape, any numeric dtype.
        grid: Where they lie.
        warnings: What a reader should know.
    """

    voxels: np.ndarray
    grid: Grid
    warnings: tuple[str, ...] = ()

    @property
    def unit(self) -> Unit:
        """What values mean: 8-bit ones are grey levels, wider ones Hounsfield units."""
        return "grey" if self.voxels.dtype == np.uint8 else "hu"

    def slices(self) -> Iterator[np.ndarray]:
        """Yield its slices `(H, W)` as a reader sees them, from feet to head."""
        for image in self.grid.to_reading(self.voxels):
            yield np.ascontiguousarray(image)  # flips leave views that OpenCV does not take

    def check(self) -> None:
        """Refuse voxels that mean nothing.

        Raises:
            DataError: `non_finite` or `constant`.
        """
        check_values(self.voxels)


def check_finite(voxels: np.ndarray) -> None:
    """Refuse voxels that are not finite, or none at all.

    Raises:
        DataError: `unreadable` or `non_finite`.
    """
    if not voxels.size:
        raise DataError("unreadable", f"The array has the shape {voxels.shape}: no voxel. Export the scan again.")
    if not np.isfinite(float(voxels.min())) or not np.isfinite(float(voxels.max())):
        n_bad = int(np.count_nonzero(~np.isfinite(voxels)))
        raise DataError("non_finite", f"{n_bad} voxels are not a number or infinite; export the scan again.")


def check_values(voxels: np.ndarray) -> None:
    """Refuse voxels that are not finite, none at all, or all the same.

    Raises:
        DataError: `unreadable`, `non_finite` or `constant`.
    """
    check_finite(voxels)
    check_range(float(voxels.min()), float(voxels.max()))


def check_shapes(shapes: Iterable[tuple[int, int]]) -> None:
    """Refuse slices of one scan that differ in size, `(H, W)` each.

    Raises:
        DataError: `mixed_geometry`.
    """
    found = sorted(set(shapes))
    if len(found) > 1:
        sizes = " and ".join(f"{width}×{height}" for height, width in found[:2])
        raise DataError("mixed_geometry", f"Slices are {sizes} px; those of one scan must be the same.")


def check_range(low: float, high: float) -> None:
    """Refuse voxels that are all the same.

    Raises:
        DataError: `constant`.
    """
    if low == high:
        raise DataError("constant", f"Every voxel is {low:g}; there is nothing to see. Export the scan again.")
