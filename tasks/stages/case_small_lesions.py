"""Small lesions of validation patients, from slices that arrive case by case."""

from collections.abc import Sequence

import numpy as np

from tasks.core.small_lesions import SmallLesions
from tasks.stages.case_slices import CaseSlices


class CaseSmallLesions(CaseSlices):
    """Small lesions of each patient; slices are added with their references."""

    def __init__(self, *, smooths: bool) -> None:
        super().__init__(smooths=smooths)
        self.of_patients: dict[str, SmallLesions] = {}

    def take_case(self, patients: Sequence[str], probability: np.ndarray, *pixels: np.ndarray) -> None:
        """Count the pixels of a case in small lesions."""
        (masks,) = pixels
        for patient_id, predicted, mask in zip(patients, probability, masks, strict=True):
            found = SmallLesions.of_slice(predicted, mask)
            so_far = self.of_patients.get(patient_id)
            self.of_patients[patient_id] = found if so_far is None else so_far + found
