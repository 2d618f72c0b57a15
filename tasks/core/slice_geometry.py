"""Arrangement of DICOM slices as a volume: sorted by position and checked to lie on one grid.

Slices are ordered by their position along the normal of their plane, never by name or instance number (DICOM PS3.3
C.7.6.2.1.1). Nothing is interpolated: every slice lies where its header says, or the series is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tasks.core.errors import DataError
from tasks.core.plural import counted
from tasks.core.volumes import LPS_TO_RAS, Grid

COSINE_TOLERANCE: Final = 1e-3
SPACING_TOLERANCE: Final = 0.01
"""Relative tolerance of pixel spacings within a series."""

MIN_TOLERANCE_MM: Final = 0.1
STEP_TOLERANCE: Final = 0.1
"""Accepted distance of a slice from its place in the grid: a tenth of the step; of thin slices 0.1 mm, to which
positions are often rounded."""

MAX_MISSING: Final = 0.5
"""Largest share of a grid's places without a slice; with more, the step would be a guess."""

MIN_SINGLE_STEPS: Final = 0.25
"""Share of the distances that a smallest one has if it is the step; a third of the slices missing leaves 0.4."""

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


def is_same_stack(plane: SlicePlane, other: SlicePlane) -> bool:
    """Return whether two slices agree in size, spacing and orientation, so that they may lie on one grid."""
    if plane.shape != other.shape or (plane.position is None) != (other.position is None):
        return False
    return all(
        first == second
        or (first is not None and second is not None and np.allclose(first, second, rtol=rtol, atol=atol))
        for first, second, rtol, atol in (
            (plane.cosines, other.cosines, 0, COSINE_TOLERANCE),
            (plane.pixel_spacing_mm, other.pixel_spacing_mm, SPACING_TOLERANCE, 0),
        )
    )


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Arrangement of slices as a volume.

    Attributes:
        order: Index of the given slice at each place of the volume; where one is missing, that of the slice before.
        missing: Places without a slice.
        grid: Grid of the array `(slice, row, column)`.
        warnings: Warnings for the user.
    """

    order: tuple[int, ...]
    missing: tuple[int, ...]
    grid: Grid
    warnings: tuple[str, ...]


def arrange(planes: Sequence[SlicePlane]) -> Arrangement:
    """Return the arrangement of slices as a volume.

    Args:
        planes: One per slice, in any order; all agree in size, spacing and orientation (`is_same_stack`).

    Raises:
        DataError: `missing_position`, `missing_spacing`, `zero_spacing`, `duplicate_position`, `gantry_tilt`,
            `missing_slices`, `shifted_slices` or `unequal_spacing`.
    """
    cosines, spacing = _common_plane(planes)
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    normal = np.cross(row, column)
    positions = np.array([plane.position for plane in planes], dtype=float)
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    places = _places(positions, normal)
    step = _step(positions, places) if len(planes) > 1 else normal  # of a single slice no distance is known
    _check_tilt(step, normal)
    lps = np.eye(4)
    lps[:3] = np.column_stack([step, column * spacing[0], row * spacing[1], positions[0]])
    grid = Grid((int(places[-1]) + 1, *planes[0].shape), LPS_TO_RAS @ lps)
    grid.check()
    held = np.searchsorted(places, np.arange(grid.shape[0]), side="right") - 1
    missing = np.setdiff1d(np.arange(grid.shape[0]), places)
    return Arrangement(
        order=tuple(order[held].tolist()),
        missing=tuple(missing.tolist()),
        grid=grid,
        warnings=tuple(_warnings(cosines, len(missing), grid.shape[0])),
    )


def _warnings(cosines: Sequence[float], n_missing: int, n_places: int) -> Iterator[str]:
    if n_missing:
        yield (
            f"{n_missing} of {n_places} slices are missing; the mask is empty there, and no volume is given in "
            "millilitres."
        )
    if n_places == 1:
        yield "The scan is a single slice; no volume is given in millilitres."
    if not np.allclose(cosines, AXIAL, atol=0.1):
        yield f"Orientation is {_shown(cosines)}, not the usual axial; turned to be read."


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
    if min(first.pixel_spacing_mm) <= 0:
        shown = " and ".join(f"{value:g}" for value in first.pixel_spacing_mm)
        raise DataError("zero_spacing", f"Pixel Spacing is {shown} mm; it must be above 0. Export the scan again.")
    return first.cosines, first.pixel_spacing_mm


def _places(positions: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the place of each slice on an even grid, int `(N,)` from 0.

    Args:
        positions: Positions in mm, sorted along the normal, `(N, 3)`.
        normal: Normal of the slices.

    Raises:
        DataError: `duplicate_position`, or that there is no such grid and why.
    """
    if len(positions) == 1:
        return np.zeros(1, int)
    gaps = np.diff(positions @ normal)
    n_same = int((gaps < SAME_POSITION_MM).sum())
    if n_same:
        raise DataError(
            "duplicate_position", f"{counted(n_same, 'slice')} too many: at their place lies another that differs."
        )
    whole = np.arange(len(positions))
    if _is_even(positions, whole):
        return whole
    for step in _likely_steps(gaps):
        places = np.concatenate([[0], np.cumsum(np.maximum(np.rint(gaps / step), 1))]).astype(int)
        n_places = int(places[-1]) + 1
        if n_places > len(positions) and _is_even(positions, places):
            n_missing = n_places - len(positions)
            if n_missing <= MAX_MISSING * n_places:
                return places
            raise DataError("missing_slices", f"{n_missing} of {n_places} slices are missing. Send the series again.")
    raise _unevenness(positions, normal)


def _likely_steps(gaps: np.ndarray) -> list[float]:
    """Return the distances that may be one step of a series with gaps: the usual one, and the smallest if it recurs.

    A small distance that does not recur is a slice out of place, and would make a fine grid of any series.
    """
    smallest = gaps[gaps - gaps.min() <= max(MIN_TOLERANCE_MM, STEP_TOLERANCE * gaps.min())]
    recurs = len(smallest) >= max(2, MIN_SINGLE_STEPS * len(gaps))
    return [float(np.median(gaps)), *([float(smallest.mean())] if recurs else [])]


def _step(positions: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the vector from one place to the next, mm; the outer slices lie exactly on the grid."""
    step: np.ndarray = (positions[-1] - positions[0]) / places[-1]
    return step


def _residuals(positions: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the distance of each slice from its place, mm."""
    expected = positions[0] + places[:, np.newaxis] * _step(positions, places)
    distances: np.ndarray = np.linalg.norm(positions - expected, axis=1)
    return distances


def _is_even(positions: np.ndarray, places: np.ndarray) -> bool:
    return bool(_residuals(positions, places).max() <= _tolerance(_step(positions, places)))


def _tolerance(step: np.ndarray) -> float:
    """Return the accepted distance of a slice from its place, mm; the rest of a float is no distance."""
    return max(MIN_TOLERANCE_MM, STEP_TOLERANCE * float(np.linalg.norm(step))) + 1e-6


def _unevenness(positions: np.ndarray, normal: np.ndarray) -> DataError:
    """Return why sorted slices lie on no even grid."""
    along, whole = positions @ normal, np.arange(len(positions))
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    if _is_even(np.outer(along, normal), whole):
        beside = _beside(positions - np.outer(along, normal))
        worst = int(np.argmax(beside))
        return DataError(
            "shifted_slices",
            f"Slice {worst + 1} lies {beside[worst]:.3g} mm beside the others, along its own plane. Resample the "
            "series, or send it again.",
        )
    worst = int(np.argmax(np.abs(gaps - usual)))
    if abs(gaps[worst] - usual) > STEP_TOLERANCE * usual:
        sentence = f"Between slices {worst + 1} and {worst + 2} lie {gaps[worst]:.4g} mm, elsewhere {usual:.4g} mm."
    else:
        off = _residuals(positions, whole)
        worst = int(np.argmax(off))
        sentence = (
            f"Distances of slices change from {gaps.min():.4g} to {gaps.max():.4g} mm: slice {worst + 1} lies "
            f"{off[worst]:.2g} mm off an even grid."
        )
    return DataError("unequal_spacing", f"{sentence} Resample the series to even distances.")


def _beside(in_plane: np.ndarray) -> np.ndarray:
    """Return how far each slice lies beside the line of most of them, mm, by the median of the steps."""
    expected = np.outer(np.arange(len(in_plane)), np.median(np.diff(in_plane, axis=0), axis=0))
    offsets = in_plane - expected
    distances: np.ndarray = np.linalg.norm(offsets - np.median(offsets, axis=0), axis=1)
    return distances


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


def _shown(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
