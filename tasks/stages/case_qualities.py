"""Samples for the calibration of the expected quality, from validation slices that arrive case by case."""

from collections.abc import Sequence

import numpy as np

from tasks.core.quality import QualitySamples, sample_slice
from tasks.stages.case_slices import CaseSlices


class CaseQualities(CaseSlices):
    """Samples of all slices with lesion; slices are added with references, images, and lung probabilities if any."""

    def __init__(self, *, smooths: bool) -> None:
        super().__init__(smooths=smooths)
        self._patients: list[str] = []
        self._values: list[np.ndarray] = []

    @property
    def samples(self) -> QualitySamples:
        """Samples of the cases that are closed."""
        return QualitySamples.of(self._patients, self._values)

    def take_case(self, patients: Sequence[str], probability: np.ndarray, *pixels: np.ndarray) -> None:
        """Sample the slices of a case whose reference has lesion."""
        masks, images, *lungs = pixels
        for number in np.flatnonzero(masks.any(axis=(1, 2))).tolist():
            lung = lungs[0][number] if lungs else None
            self._patients.append(patients[number])
            self._values.append(sample_slice(probability[number], images[number], lung, masks[number]))
