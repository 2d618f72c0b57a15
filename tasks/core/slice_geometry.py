"""Arrangement of DICOM slices as a volume: sorted by position and checked to lie on one grid.

Slices are ordered by their position along the normal of their plane, never by name or instance number (DICOM PS3.3
C.7.6.2.1.1). Nothing is interpolated: a series that does not lie on one grid is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tasks.core.errors import DataError, ErrorCode
from tasks.core.volumes import LPS_TO_RAS, Grid

COSINE_TOLERANCE: Final = 1e-3
SPACING_TOLERANCE: Final = 0.01
"""Relative tolerance of pixel spacings within a series."""

GAP_TOLERANCE: Final = 0.1
"""Relative tolerance of distances between neighbouring slices; positions are often rounded to 0.1 mm."""

MAX_TILT_DEGREES: Final = 0.5
SAME_POSITION_MM: Final = 1e-3
AXIAL: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class SlicePlane:
    """Plane of a slice, as in DICOM (LPS+, mm).

    Attributes:
        position: Centre of the first pixel (Image Position Patient); None if the header has none.
        cosines: Direction of a row, then of a column (Image Orientation Patient).
        pixel_spacing_mm: Between rows, then between columns (Pixel Spacing).
        shape: Rows and columns.
    """

    position: tuple[float, float, float] | None
    cosines: tuple[float, float, float, float, float, float] | None
    pixel_spacing_mm: tuple[float, float] | None
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Arrangement of slices as a volume.

    Attributes:
        order: Indices of the given slices, in the order of the volume.
        grid: Grid of the array `(slice, row, column)`.
        warnings: Warnings for the user.
    """

    order: tuple[int, ...]
    grid: Grid
    warnings: tuple[str, ...]


def arrange(planes: Sequence[SlicePlane]) -> Arrangement:
    """Return the arrangement of slices as a volume.

    Args:
        planes: One per slice, in any order.

    Raises:
        DataError: `single_slice`, `missing_position`, `mixed_geometry`, `duplicate_position`, `gantry_tilt`,
            `missing_slices` or `unequal_spacing`.
    """
    if len(planes) < 2:
        raise DataError("single_slice", f"The series has {len(planes)} slice; a volume needs at least 2.")
    cosines, spacing = _common_plane(planes)
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    positions = np.array([plane.position for plane in planes], dtype=float)
    normal = np.cross(row, column)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    _check_distances(along[order])
    step = (positions[order[-1]] - positions[order[0]]) / (len(planes) - 1)
    _check_tilt(step, normal)
    lps = np.eye(4)
    lps[:3] = np.column_stack([step, column * spacing[0], row * spacing[1], positions[order[0]]])
    grid = Grid((len(planes), *planes[0].shape), LPS_TO_RAS @ lps)
    grid.check()
    is_usual = np.allclose(cosines, AXIAL, atol=0.1)
    warnings = () if is_usual else (f"Orientation is {_shown(cosines)}, not the usual axial; turned to be read.",)
    return Arrangement(tuple(int(index) for index in order), grid, warnings)


def _common_plane(
    planes: Sequence[SlicePlane],
) -> tuple[tuple[float, float, float, float, float, float], tuple[float, float]]:
    """Return the cosines and the pixel spacing that all slices share."""
    n_bare = sum(plane.position is None or plane.cosines is None for plane in planes)
    first = planes[0]
    if n_bare or first.cosines is None:
        raise DataError(
            "missing_position",
            f"{n_bare} of {len(planes)} slices have no position or orientation; without them their order is unknown.",
        )
    n_unscaled = sum(plane.pixel_spacing_mm is None for plane in planes)
    if n_unscaled or first.pixel_spacing_mm is None:
        raise DataError("missing_spacing", f"{n_unscaled} of {len(planes)} slices have no pixel spacing.")
    for plane in planes:
        if plane.shape != first.shape:
            raise DataError(
                "mixed_geometry", f"Slices are {_size(first.shape)} and {_size(plane.shape)} px in one series."
            )
        if not np.allclose(plane.cosines or (), first.cosines, atol=COSINE_TOLERANCE):
            raise DataError(
                "mixed_geometry",
                f"Slices are oriented {_shown(first.cosines)} and {_shown(plane.cosines or ())} in one series.",
            )
        if not np.allclose(plane.pixel_spacing_mm or (), first.pixel_spacing_mm, rtol=SPACING_TOLERANCE):
            raise DataError(
                "mixed_geometry",
                f"Pixels are {_shown(first.pixel_spacing_mm)} and {_shown(plane.pixel_spacing_mm or ())} mm apart in "
                "one series.",
            )
    return first.cosines, first.pixel_spacing_mm


def _check_distances(along: np.ndarray) -> None:
    """Refuse sorted positions that are not evenly spaced."""
    gaps = np.diff(along)
    if gaps.min() < SAME_POSITION_MM:
        n_same = int((gaps < SAME_POSITION_MM).sum())
        raise DataError(
            "duplicate_position",
            f"{n_same} slices lie where another one does; a series of several reconstructions or phases is to be "
            "split before it is segmented.",
        )
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    ratio = float(gaps[worst]) / usual
    if abs(ratio - 1) <= GAP_TOLERANCE:
        return
    code: ErrorCode = (
        "missing_slices" if ratio > 1.5 and abs(ratio - round(ratio)) <= GAP_TOLERANCE else "unequal_spacing"
    )
    raise DataError(
        code,
        f"Between slices {worst + 1} and {worst + 2} lie {gaps[worst]:g} mm, elsewhere {usual:g} mm"
        + (f": {round(ratio) - 1} missing there. Send the series again." if code == "missing_slices" else "."),
    )


def _check_tilt(step: np.ndarray, normal: np.ndarray) -> None:
    """Refuse slices stacked at an angle to their plane."""
    along = float(step @ normal)
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(step - along * normal), along)))
    if tilt > MAX_TILT_DEGREES:
        raise DataError(
            "gantry_tilt",
            f"The gantry was tilted by {tilt:.1f}°: slices are stacked at an angle to their plane. "
            "Resample the series to upright slices.",
        )


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]}×{shape[0]}"


def _shown(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
