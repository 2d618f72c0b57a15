"""Minimum lesion size of a bundle: the area below which a predicted lesion is more often false than right.

Areas are pixels in a slice at the model's size, so that they mean the same in scans of any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cc3d
import numpy as np

from tasks.core.metrics import Counts
from tasks.core.operating_rules import penalised_dice_of
from tasks.core.probability_histogram import CURVE_LEVELS, ProbabilityHistogram

SIZES_PX = (4, 8, 12, 16, 24)
"""Areas that may be chosen. At 1.4 mm px, as in the public scans, 24 is a disc of 8 mm."""
MAX_DICE_LOSS = 0.001
"""Mean Dice that the removal may cost. On the public scans it allows 24 px, which remove half of the false
lesions of unseen patients (infra/docs/accuracy.md)."""
MIN_PATIENTS = 3
"""Fewest patients with lesions by whom an area is chosen: one alone may have no small lesions."""


@dataclass(frozen=True, slots=True)
class SmallLesions:
    """Pixels in the predicted lesions of a patient that are smaller than each of `SIZES_PX`, at each of `CURVE_LEVELS`.

    Attributes:
        n_right: Those that are lesion in the reference, int64 `(len(CURVE_LEVELS), len(SIZES_PX))`.
        n_false: All others, likewise.
    """

    n_right: np.ndarray
    n_false: np.ndarray

    def __add__(self, other: "SmallLesions") -> "SmallLesions":
        return SmallLesions(self.n_right + other.n_right, self.n_false + other.n_false)

    @classmethod
    def of_slice(cls, probability: np.ndarray, reference: np.ndarray) -> Self:
        """Return the pixels of a slice.

        Args:
            probability: uint8 `(H, W)`, in units of 1/255, at the model's size.
            reference: Mask of 0 and 1, likewise.
        """
        found = np.zeros((2, len(CURVE_LEVELS), len(SIZES_PX)), np.int64)
        for index, level in enumerate(CURVE_LEVELS):
            mask = (probability >= level).astype(np.uint8)
            if not mask.any():
                break  # so are those of higher thresholds
            labels = cc3d.connected_components(mask, connectivity=8)
            n_pixels = np.bincount(labels.ravel())[1:]
            n_right = np.bincount(labels[reference > 0], minlength=len(n_pixels) + 1)[1:]
            for column, size_px in enumerate(SIZES_PX):
                is_small = n_pixels < size_px
                right = n_right[is_small].sum()
                found[:, index, column] = right, n_pixels[is_small].sum() - right
        return cls(*found)


def choose_min_lesion_px(
    patients: Sequence[ProbabilityHistogram], small: Sequence[SmallLesions], threshold: float
) -> int:
    """Return the largest area whose removal costs at most `MAX_DICE_LOSS`; 0 if it removes no false pixel.

    Args:
        patients: One histogram per validation patient.
        small: Their small lesions, in the same order; none if they were not counted.
        threshold: Threshold of the bundle; lesions were counted at those of `CURVE_LEVELS`, and the nearest serves.
    """
    if len(small) != len(patients) or sum(bool(patient.lesion.any()) for patient in patients) < MIN_PATIENTS:
        return 0
    index = int(np.abs(np.array(CURVE_LEVELS) / 255 - threshold).argmin())
    counts = [patient.counts_at(CURVE_LEVELS[index]) for patient in patients]
    without = penalised_dice_of(counts) or 0.0
    chosen = 0
    for column, size_px in enumerate(SIZES_PX):
        removed = [(int(of.n_right[index, column]), int(of.n_false[index, column])) for of in small]
        kept = [_without(of, *pixels) for of, pixels in zip(counts, removed, strict=True)]
        if sum(n_false for _, n_false in removed) and (penalised_dice_of(kept) or 0.0) >= without - MAX_DICE_LOSS:
            chosen = size_px
    return chosen


def _without(counts: Counts, n_right: int, n_false: int) -> Counts:
    """Return the counts after the removal of right and false pixels."""
    return Counts(counts.tp - n_right, counts.fp - n_false, counts.fn + n_right, counts.tn + n_false)
