"""Volumes in memory: voxels and their grid, and conversion between stored and reading orientation.

World coordinates are RAS+ in mm, as NIfTI has them: right to left, posterior to anterior, inferior to superior grow.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final, Literal

import numpy as np

from tasks.core.errors import DataError

Layout = Literal["slice", "stack", "volume", "series"]
"""Layout of a scan in files: one slice, a stack of slice files, one volume, or a DICOM series."""

AxisOrder = Literal["kji", "ijk"]
"""Axis order of a stored array: kji is (slice, row, column), as in most libraries; ijk is the reverse, as in NIfTI."""

Unit = Literal["hu", "grey"]
LUNG_HU: Final = (-950.0, -500.0)
"""Values of aerated lung. Air outside the body and padding lie lower, and prove nothing."""

READING_AXES: Final = ("S", "P", "L")
"""Reading orientation, as for a radiologist and the model: slices from feet to head, rows from front to back, columns
from the patient's right to left, which is on the right of the picture."""

MIN_SPACING_MM: Final = 1e-3
MAX_DISTANCE_MM: Final = 1e6
"""Largest step and position: a kilometre, beyond which float32 headers lose a tenth of a millimetre."""

MAX_SIDE: Final = 32_767
"""Largest number of voxels along an axis of a NIfTI-1 mask: its `dim` is int16 (nifti1.h)."""
MIN_SIDE_PX: Final = 8
MAX_SLICES: Final = 8192
"""Bounds of what is enlarged for the model and held at once: 512 MiB at 256x256 px. CT has some thousand slices of
512x512."""

POSITION_TOLERANCE_MM: Final = 0.1
"""Tolerance between the positions of an image and its mask, because headers round."""

LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Conversion of coordinates from DICOM (left, posterior) to NIfTI (right, anterior)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Grid a scan is stored on.

    Attributes:
        shape: Voxels along each axis of the stored array.
        affine: Voxel index to world, `(4, 4)`, mm.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing of voxels along each axis of the stored array, mm."""
        first, second, third = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(first), float(second), float(third)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def check(self) -> None:
        """Refuse an invalid grid.

        Raises:
            DataError: `too_large`, `bad_affine` or `zero_spacing`.
        """
        check_sides(self.shape)
        if not np.isfinite(self.affine).all():
            raise DataError("bad_affine", "The affine holds values that are not finite. Export the scan again.")
        largest = float(np.abs(self.affine[:3]).max())
        if largest > MAX_DISTANCE_MM:
            raise DataError(
                "bad_affine",
                f"The affine holds a distance of {largest:g} mm; at most {MAX_DISTANCE_MM:g} were expected. "
                "Export the scan again.",
            )
        if min(self.spacing_mm) < MIN_SPACING_MM:
            shown = " × ".join(f"{spacing:g}" for spacing in self.spacing_mm)
            raise DataError("zero_spacing", f"Voxels are {shown} mm; each must be above 0. Export the scan again.")
        if self.voxel_mm3 < 1e-3 * float(np.prod(self.spacing_mm)):
            raise DataError(
                "bad_affine", "The affine is singular: two axes of the array point the same way. Export the scan again."
            )

    def to_reading(self, stored: np.ndarray) -> np.ndarray:
        """Return a stored array in reading orientation, `(D, H, W)` along `READING_AXES`, as a view.

        Axes are swapped and flipped to the nearest axes of the patient; nothing is interpolated.
        """
        turned: np.ndarray = _orientations().apply_orientation(stored, self._turn())
        return turned

    def as_read(self) -> "Grid":
        """Return the grid of what `to_reading` returns."""
        back = _orientations().inv_ornt_aff(self._turn(), self.shape)
        first, second, third = (self.shape[int(axis)] for axis in np.argsort(self._turn()[:, 0]))
        return Grid((first, second, third), self.affine @ back)

    def from_reading(self, read: np.ndarray) -> np.ndarray:
        """Return an array in reading orientation as it is stored: the inverse of `to_reading`."""
        nib = _orientations()
        back = nib.ornt_transform(nib.axcodes2ornt(READING_AXES), nib.io_orientation(self.affine))
        stored: np.ndarray = nib.apply_orientation(read, back)
        return stored

    @property
    def is_read_slice_by_slice(self) -> bool:
        """Whether slices in reading orientation lie along the first axis of the stored array."""
        return bool(self._turn()[0, 0] == 0)

    def stored_range(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of the first stored axis that holds reading slices `first` to before `last`.

        If slices lie across the first axis, it is the whole axis.
        """
        if not self.is_read_slice_by_slice:
            return 0, self.shape[0]
        is_flipped = self._turn()[0, 1] < 0
        return (self.shape[0] - last, self.shape[0] - first) if is_flipped else (first, last)

    def transposed(self) -> "Grid":
        """Return the grid of the array with reversed axes, as NIfTI stores `(slice, row, column)`."""
        affine = self.affine.copy()
        affine[:, :3] = affine[:, 2::-1]
        first, second, third = self.shape
        return Grid((third, second, first), affine)

    def _turn(self) -> np.ndarray:
        nib = _orientations()
        turn: np.ndarray = nib.ornt_transform(nib.io_orientation(self.affine), nib.axcodes2ornt(READING_AXES))
        return turn


def check_sides(shape: tuple[int, ...]) -> None:
    """Refuse an array whose mask could not be written.

    Raises:
        DataError: `too_large`.
    """
    if max(shape) > MAX_SIDE:
        sides = "×".join(map(str, shape))
        raise DataError("too_large", f"The scan is {sides}; at most {MAX_SIDE} along an axis are segmented. Split it.")


def check_reading(shape: tuple[int, ...]) -> None:
    """Refuse slices that are too small to show a chest, or too many to be held at once.

    A file of some bytes may claim thousands of slices of one voxel, each of which would be enlarged for the model.

    Args:
        shape: `(D, H, W)` in reading orientation.

    Raises:
        DataError: `too_small` or `too_large`.
    """
    n_slices, height, width = shape
    if min(height, width) < MIN_SIDE_PX:
        raise DataError("too_small", f"Slices are {width}×{height} px; at least {MIN_SIDE_PX} px a side are segmented.")
    if n_slices > MAX_SLICES:
        raise DataError("too_large", f"The scan has {n_slices} slices; at most {MAX_SLICES} are segmented. Split it.")


def check_one_grid(image: Grid, mask: Grid) -> None:
    """Refuse a mask on another grid than its image; the order of stored voxels may differ.

    Raises:
        DataError: `shape_mismatch`, or `mixed_geometry` if they lie apart by more than `POSITION_TOLERANCE_MM`.
    """
    image, mask = image.as_read(), mask.as_read()
    if image.shape != mask.shape:
        shapes = " and ".join("×".join(map(str, grid.shape)) for grid in (image, mask))
        raise DataError("shape_mismatch", f"Image and mask have {shapes} voxels; they must be the same.")
    corners = np.array([[0, 0, 0, 1], [*(size - 1 for size in image.shape), 1]]).T
    apart = float(np.abs((image.affine - mask.affine) @ corners).max())
    if apart > POSITION_TOLERANCE_MM:
        raise DataError(
            "mixed_geometry", f"Image and mask lie {apart:.1f} mm apart in space; export the mask on the image's grid."
        )


def _orientations() -> ModuleType:
    """Import nibabel's orientations here, because the driver lists scans and never needs it."""
    from nibabel import orientations

    return orientations


@dataclass(frozen=True, slots=True)
class Volume:
    """Scan in memory.

    Attributes:
        voxels: Stored array, of the grid's shape, any numeric dtype.
        grid: Grid of the voxels.
        warnings: Warnings for the user.
        forms: Fields of a NIfTI header that say where it lies, as stored; its mask gets the same.
        is_oriented: Whether the header says which side is the patient's right; else the grid is a guess.
    """

    voxels: np.ndarray
    grid: Grid
    warnings: tuple[str, ...] = ()
    forms: Mapping[str, np.ndarray] = field(default_factory=dict)
    is_oriented: bool = True

    @property
    def unit(self) -> Unit:
        """Unit of the values: grey levels if they have 8 bits, else Hounsfield units."""
        return "grey" if self.voxels.dtype == np.uint8 else "hu"

    def slices(self) -> Iterator[np.ndarray]:
        """Yield the slices `(H, W)` in reading orientation, from feet to head."""
        for image in self.grid.to_reading(self.voxels):
            yield np.ascontiguousarray(image)  # OpenCV does not accept the views that flips leave

    def check(self) -> None:
        """Refuse voxels that are not finite or all the same.

        Raises:
            DataError: `non_finite` or `constant`.
        """
        check_values(self.voxels)


def check_finite(voxels: np.ndarray) -> None:
    """Refuse voxels that are not finite, or an empty array.

    Raises:
        DataError: `unreadable` or `non_finite`.
    """
    if not voxels.size:
        raise DataError("unreadable", f"The array has the shape {voxels.shape}: no voxel. Export the scan again.")
    if not np.isfinite(float(voxels.min())) or not np.isfinite(float(voxels.max())):
        n_bad = int(np.count_nonzero(~np.isfinite(voxels)))
        raise DataError("non_finite", f"{n_bad} voxels are not a number or infinite; export the scan again.")


def check_values(voxels: np.ndarray) -> None:
    """Refuse voxels that are not finite or all the same, or an empty array.

    Raises:
        DataError: `unreadable`, `non_finite` or `constant`.
    """
    check_finite(voxels)
    check_range(float(voxels.min()), float(voxels.max()))


def count_lung_like(read: np.ndarray) -> tuple[int, int]:
    """Return how many voxels have values as of aerated lung, and how many were looked at: every fourth row and column.

    Args:
        read: Hounsfield units in reading orientation, `(D, H, W)`.
    """
    seen = read[:, ::4, ::4]
    return int(np.count_nonzero((seen > LUNG_HU[0]) & (seen < LUNG_HU[1]))), seen.size


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
