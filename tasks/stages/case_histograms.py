"""Histograms of validation patients, from slices that arrive case by case."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tasks.core.probability_histogram import FalseLesions, ProbabilityHistogram, probability_histogram
from tasks.core.smoothing import smooth_along_z


class CaseHistograms:
    """Histogram of each patient over slices in the order of cases and positions; holds the slices of one case."""

    def __init__(self, *, smooths: bool, counts_lesions: bool = False) -> None:
        """Start without slices.

        Args:
            smooths: Whether probabilities are smoothed along z, for which a case must be whole.
            counts_lesions: Whether false lesions are counted, over thresholds.
        """
        self.of_patients: dict[str, ProbabilityHistogram] = {}
        self._smooths, self._counts_lesions = smooths, counts_lesions
        self._case_id: str | None = None
        self._slices: list[tuple[str, int, np.ndarray, np.ndarray]] = []

    def add(
        self,
        case_ids: Sequence[str],
        slice_indices: Sequence[int],
        patients: Sequence[str],
        probability: np.ndarray,
        masks: np.ndarray,
    ) -> None:
        """Add slices.

        Args:
            case_ids: Case of each slice.
            slice_indices: Position of each in its case, ascending.
            patients: Patient of each.
            probability: uint8 `(N, H, W)`, in units of 1/255; further slices are padding.
            masks: References of 0 and 1, likewise.
        """
        slices = zip(patients, slice_indices, probability, masks, strict=False)
        for case_id, one in zip(case_ids, slices, strict=False):
            if case_id != self._case_id:
                self.close_case()
                self._case_id = case_id
            self._slices.append(one)

    def close_case(self) -> None:
        """Count the slices held; to be called once more after the last."""
        if not self._slices:
            return
        patients, positions, probability, masks = zip(*self._slices, strict=True)
        stacked = np.stack(probability)
        smooth = smooth_along_z(stacked, positions) if self._smooths else stacked
        for patient_id, predicted, mask in zip(patients, smooth, masks, strict=True):
            histogram = probability_histogram(predicted, mask)
            so_far = self.of_patients.get(patient_id)
            self.of_patients[patient_id] = histogram if so_far is None else so_far + histogram
        if self._counts_lesions:
            false_lesions = FalseLesions.of_scan(smooth, np.stack(masks))
            self.of_patients[patients[0]] += replace(ProbabilityHistogram.empty(), false_lesions=false_lesions)
        self._slices = []
