"""Scores of cases: masks are collected slice by slice and scored as a volume once the case is complete."""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tasks.core.errors import ConfigError
from tasks.core.lesions import LesionsBySize, add_by_size
from tasks.core.patient_metrics import PATIENT_METRICS, CaseMasks, mean_of_cases, score_case


@dataclass(frozen=True, slots=True)
class PackedSlice:
    """Prediction and reference of a slice, one bit per pixel, compressed: about 0.3 KB for a CT slice.

    Attributes:
        shape: (H, W) of each mask.
        bits: Both masks, one after the other.
    """

    shape: tuple[int, int]
    bits: bytes

    @classmethod
    def of(cls, prediction: np.ndarray, reference: np.ndarray) -> "PackedSlice":
        """Return two masks of 0 and 1, `(H, W)`, packed."""
        height, width = reference.shape
        return cls((height, width), zlib.compress(np.packbits(np.stack([prediction, reference])).tobytes(), 1))

    def unpack(self) -> np.ndarray:
        """Return prediction and reference, uint8 `(2, H, W)`."""
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        n_pixels = 2 * self.shape[0] * self.shape[1]
        return np.unpackbits(bits, count=n_pixels).reshape(2, *self.shape)


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Score of a case: its slices so far, or its metrics once all slices are there.

    A shard may hold a part of a case. Parts are added, and the case is scored when it is complete: in the worker if one
    shard holds the whole case, else where shards are added. Before that, or if a slice could not be scored or is
    missing, every metric is undefined.

    Attributes:
        n_slices: Number of slices of the whole case in its source, with those rejected or in another split.
        spacing_mm: Spacing along (D, H, W), if it is known.
        slices: Slices by `slice_index`, while some are missing.
        values: Metrics by name, once all slices are there.
        lesions: Numbers of lesions by size; None unless the metrics are defined.
        n_voxels: Lesion voxels of prediction and reference; None likewise.
    """

    n_slices: int
    spacing_mm: tuple[float, float, float] | None = None
    slices: dict[int, PackedSlice] = field(default_factory=dict)
    values: dict[str, float | None] | None = None
    lesions: LesionsBySize | None = None
    n_voxels: tuple[int, int] | None = None

    def __add__(self, later: "CaseScore") -> "CaseScore":
        if self.values is not None or later.values is not None:
            raise ConfigError("Shards and cases.parquet of the dataset disagree. Prepare the dataset again.")
        return CaseScore(self.n_slices, self.spacing_mm, self.slices | later.slices).scored_if_whole()

    def scored_if_whole(self) -> "CaseScore":
        """Return the score with metrics instead of slices, if all slices are there."""
        if self.values is not None or len(self.slices) < self.n_slices:
            return self
        masks = self._masks()
        if masks is None:
            return CaseScore(self.n_slices, self.spacing_mm, values=dict.fromkeys(PATIENT_METRICS))
        return CaseScore(
            self.n_slices,
            self.spacing_mm,
            values=score_case(masks),
            lesions=masks.lesions_by_size,
            n_voxels=masks.n_voxels,
        )

    def _masks(self) -> CaseMasks | None:
        """Return the masks as a volume; None if a position is empty or slices differ in size."""
        numbers = sorted(self.slices)
        shapes = {packed.shape for packed in self.slices.values()}
        if numbers[-1] - numbers[0] + 1 != len(numbers) or len(shapes) > 1:
            return None
        masks = np.empty((2, len(numbers), *shapes.pop()), np.uint8)
        for offset, number in enumerate(numbers):
            masks[:, offset] = self.slices[number].unpack()
        return CaseMasks(masks[0], masks[1], self.spacing_mm)


def add_cases(one: dict[str, CaseScore], other: dict[str, CaseScore]) -> dict[str, CaseScore]:
    """Return the cases of both, by `case_id`; parts of the same case are added."""
    return one | {case_id: one[case_id] + case if case_id in one else case for case_id, case in other.items()}


def patient_figures(cases: Iterable[CaseScore]) -> dict[str, float | None]:
    """Return the patient metrics by name, each the mean over the cases for which it is defined."""
    return mean_of_cases(case.values for case in cases if case.values is not None)


def lesions_of(cases: Iterable[CaseScore]) -> LesionsBySize:
    """Return the numbers of lesions by size, over the cases in which they are known."""
    return add_by_size(case.lesions for case in cases if case.lesions is not None)


def volumes_ml(cases: Iterable[CaseScore]) -> tuple[float, float] | None:
    """Return the predicted and the reference volume of a patient, ml; None if one of their cases has no volume."""
    predicted = reference = 0.0
    is_known = False
    for case in cases:
        if case.n_voxels is None or case.spacing_mm is None:
            return None
        voxel_ml = math.prod(case.spacing_mm) / 1000
        predicted, reference = predicted + case.n_voxels[0] * voxel_ml, reference + case.n_voxels[1] * voxel_ml
        is_known = True
    return (predicted, reference) if is_known else None
