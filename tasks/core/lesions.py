"""Lesions of a case: connected components of prediction and reference, found, missed and false, by size.

A lesion is a connected component in three dimensions; voxels that touch at a corner are connected. It is matched if at
least `MATCHED_SHARE` of it lies in the other mask: lesions merge, so one prediction may find several, and several may
find one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cc3d
import numpy as np

MATCHED_SHARE = 0.25
"""Share of a lesion that must lie in the other mask. With any shared voxel, the rule of many challenges, one prediction
over a whole lung would find every lesion and be right itself."""
MATCHING_RULE = f"A lesion is found, or right, if at least {MATCHED_SHARE:.0%} of it lies in the other mask."

SIZE_LIMITS_ML = (1.0, 10.0)
"""Limits between small, medium and large lesions of volumes, ml."""
SIZE_LIMITS_VOXELS = (500, 5000)
"""The same of slices without spacing, voxels: about as much at 1.4 mm px and 1 mm steps, as in the public scans."""
SIZES = ("small", "medium", "large")
SIZES_RULE = (
    f"Small, medium and large lesions are told apart at {SIZE_LIMITS_ML[0]:g} and {SIZE_LIMITS_ML[1]:g} ml in volumes, "
    f"at {SIZE_LIMITS_VOXELS[0]:,} and {SIZE_LIMITS_VOXELS[1]:,} voxels where there is no spacing."
)


@dataclass(frozen=True, slots=True)
class LesionCounts:
    """Numbers of lesions of a case, or of many.

    Attributes:
        n_reference: Lesions in the reference.
        n_found: Those of them that are found.
        n_predicted: Lesions in the prediction.
        n_false: Those of them that are false.
    """

    n_reference: int = 0
    n_found: int = 0
    n_predicted: int = 0
    n_false: int = 0

    def __add__(self, other: "LesionCounts") -> "LesionCounts":
        return LesionCounts(
            self.n_reference + other.n_reference,
            self.n_found + other.n_found,
            self.n_predicted + other.n_predicted,
            self.n_false + other.n_false,
        )

    @property
    def recall(self) -> float | None:
        """Found divided by reference lesions; None without one."""
        return self.n_found / self.n_reference if self.n_reference else None

    @property
    def precision(self) -> float | None:
        """Right divided by predicted lesions; None without one."""
        return 1 - self.n_false / self.n_predicted if self.n_predicted else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of recall and precision, 0 where one is 0 or undefined; None without any lesion."""
        if not self.n_reference and not self.n_predicted:
            return None
        recall, precision = self.recall or 0.0, self.precision or 0.0
        return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


LesionsBySize = tuple[LesionCounts, ...]
"""Counts of lesions of each of `SIZES`; the size is the lesion's own, in its own mask."""


def count_lesions(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, float, float] | None
) -> LesionsBySize:
    """Return the lesions of a case.

    Args:
        prediction: uint8 of 0 and 1, `(D, H, W)`.
        reference: Likewise.
        spacing_mm: Spacing along (D, H, W), by which sizes are in ml; None = in voxels.
    """
    ml_per_voxel = 1.0 if spacing_mm is None else float(np.prod(spacing_mm)) / 1000
    limits = [limit / ml_per_voxel for limit in (SIZE_LIMITS_VOXELS if spacing_mm is None else SIZE_LIMITS_ML)]
    n_reference, n_found = _count(reference, prediction, limits)
    n_predicted, n_right = _count(prediction, reference, limits)
    counts = zip(n_reference, n_found, n_predicted, n_predicted - n_right, strict=True)
    return tuple(LesionCounts(*(int(n) for n in of_size)) for of_size in counts)


def add_by_size(cases: Iterable[LesionsBySize]) -> LesionsBySize:
    """Return the sums over cases."""
    sums = [LesionCounts()] * len(SIZES)
    for case in cases:
        sums = [so_far + found for so_far, found in zip(sums, case, strict=True)]
    return tuple(sums)


def bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """Return the bounding box of a mask of any dimension, None if it is empty; a whole scan would take seconds."""
    axes = range(mask.ndim)
    sides = [np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    if not sides[0].size:
        return None
    return tuple(slice(int(side[0]), int(side[-1]) + 1) for side in sides)


def _count(mask: np.ndarray, other: np.ndarray, limits: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lesions of a mask by size, and those of them that are matched."""
    box = bounding_box(mask)
    if box is None:
        return np.zeros(len(SIZES), np.int64), np.zeros(len(SIZES), np.int64)
    labels, n_lesions = cc3d.connected_components(np.ascontiguousarray(mask[box]), connectivity=26, return_N=True)
    n_voxels = np.bincount(labels.ravel(), minlength=n_lesions + 1)[1:]
    n_shared = np.bincount(labels[other[box] > 0], minlength=n_lesions + 1)[1:]
    size = np.searchsorted(limits, n_voxels, side="right")
    is_matched = n_shared >= MATCHED_SHARE * n_voxels
    return np.bincount(size, minlength=len(SIZES)), np.bincount(size[is_matched], minlength=len(SIZES))
