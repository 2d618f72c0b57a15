"""Batch of validation slices, padded to a fixed size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.labels import lesion_of
from tasks.stages.case_histograms import CaseHistograms


@dataclass(frozen=True, slots=True)
class ValidationBatch:
    """Batch of validation slices.

    Attributes:
        case_ids: Case of each slice, without padding.
        slice_indices: Position of each in its case.
        patients: Patient of each.
        images: uint8 `(B, H, W)`, padded.
        labels: uint8 `(B, H, W)`, as in core/labels.py, padded.
        has_lung: bool `(B,)`, padded.
    """

    case_ids: Sequence[str]
    slice_indices: Sequence[int]
    patients: Sequence[str]
    images: np.ndarray
    labels: np.ndarray
    has_lung: np.ndarray

    @classmethod
    def padded(cls, batch: Mapping[str, np.ndarray], size: int) -> "ValidationBatch":
        """Return a batch of the validation stream, padded to a size."""
        images, labels, has_lung = (_padded(batch[name], size) for name in ("image", "labels", "has_lung"))
        case_ids, slice_indices, patients = (batch[name].tolist() for name in ("case_id", "slice_index", "patient_id"))
        return cls(case_ids, slice_indices, patients, images, labels, has_lung)

    @property
    def n_slices(self) -> int:
        """Number of slices without padding."""
        return len(self.case_ids)

    def add_to(self, histograms: CaseHistograms, probability: np.ndarray) -> None:
        """Add the lesion probabilities of these slices, uint8 `(B, H, W)`, to histograms."""
        histograms.add(self.case_ids, self.slice_indices, self.patients, probability, lesion_of(self.labels))


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([values, np.zeros((size - len(values), *values.shape[1:]), values.dtype)])
