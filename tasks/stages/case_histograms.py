"""Histograms of validation patients, from slices that arrive case by case."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tasks.core.probability_histogram import FalseLesions, ProbabilityHistogram, probability_histogram
from tasks.stages.case_slices import CaseSlices


class CaseHistograms(CaseSlices):
    """Histogram of each patient; slices are added with their references."""

    def __init__(self, *, smooths: bool, counts_lesions: bool = False) -> None:
        """Start without slices.

        Args:
            smooths: Whether probabilities are smoothed along z, for which a case must be whole.
            counts_lesions: Whether false lesions are counted, over thresholds.
        """
        super().__init__(smooths=smooths)
        self.of_patients: dict[str, ProbabilityHistogram] = {}
        self._counts_lesions = counts_lesions

    def take_case(self, patients: Sequence[str], probability: np.ndarray, *pixels: np.ndarray) -> None:
        """Count the pixels of a case by probability and reference."""
        (masks,) = pixels
        for patient_id, predicted, mask in zip(patients, probability, masks, strict=True):
            histogram = probability_histogram(predicted, mask)
            so_far = self.of_patients.get(patient_id)
            self.of_patients[patient_id] = histogram if so_far is None else so_far + histogram
        if self._counts_lesions:
            false_lesions = FalseLesions.of_scan(probability, masks)
            self.of_patients[patients[0]] += replace(ProbabilityHistogram.empty(), false_lesions=false_lesions)
