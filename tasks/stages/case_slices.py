"""Validation slices that arrive case by case, each case taken as a whole once its slices are there."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from tasks.core.smoothing import smooth_along_z


class CaseSlices(ABC):
    """Slices in the order of cases and positions; holds those of one case."""

    def __init__(self, *, smooths: bool) -> None:
        """Start without slices.

        Args:
            smooths: Whether probabilities are smoothed along z, for which a case must be whole.
        """
        self._smooths = smooths
        self._case_id: str | None = None
        self._slices: list[tuple[str, int, tuple[np.ndarray, ...]]] = []

    def add(
        self,
        case_ids: Sequence[str],
        slice_indices: Sequence[int],
        patients: Sequence[str],
        probability: np.ndarray,
        *pixels: np.ndarray,
    ) -> None:
        """Add slices.

        Args:
            case_ids: Case of each slice.
            slice_indices: Position of each in its case, ascending.
            patients: Patient of each.
            probability: uint8 `(N, H, W)`, in units of 1/255; further slices are padding.
            pixels: What else is needed of each slice, likewise; references of 0 and 1 first.
        """
        slices = zip(patients, slice_indices, zip(probability, *pixels, strict=False), strict=False)
        for case_id, one in zip(case_ids, slices, strict=False):
            if case_id != self._case_id:
                self.close_case()
                self._case_id = case_id
            self._slices.append(one)

    def close_case(self) -> None:
        """Take the case whose slices are held; to be called once more after the last."""
        if not self._slices:
            return
        patients, positions, pixels = zip(*self._slices, strict=True)
        probability, *others = (np.stack(each) for each in zip(*pixels, strict=True))
        smooth = smooth_along_z(probability, positions) if self._smooths else probability
        self.take_case(patients, smooth, *others)
        self._slices = []

    @abstractmethod
    def take_case(self, patients: Sequence[str], probability: np.ndarray, *pixels: np.ndarray) -> None:
        """Take a whole case: patient, smoothed probability and other pixels of each slice."""
