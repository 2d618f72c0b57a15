"""Validation of a network on slices that arrive case by case, in batches of a fixed size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from tasks.core.config.learning import TrainingConfig
from tasks.core.labels import lesion_of, lung_of
from tasks.core.metrics import Counts, count_pixels
from tasks.core.postprocess import probability_level, threshold_probability
from tasks.core.probability_histogram import ProbabilityHistogram
from tasks.core.quality import QualitySamples
from tasks.core.small_lesions import SmallLesions
from tasks.core.test_time_flips import predict_in_batches, predict_with_flips
from tasks.engine.training.epoch_sums import EpochSums
from tasks.engine.training.trainer import Learner
from tasks.stages.case_histograms import CaseHistograms
from tasks.stages.case_qualities import CaseQualities
from tasks.stages.case_small_lesions import CaseSmallLesions

Histograms = dict[str, ProbabilityHistogram]
"""Histograms by patient."""

WATCH_THRESHOLD = 0.5
"""Threshold of the training curves and the choice of the best epoch; the operating point is chosen afterwards."""


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


def validate(
    learner: Learner, batches: Iterable[ValidationBatch], training: TrainingConfig
) -> tuple[EpochSums, Counts, Histograms]:
    """Return sums over the validation slices, pixel counts of the lung, and the histogram of each patient."""
    sums, lung, found = EpochSums(), Counts(), _histograms(training)
    for batch in batches:
        losses, probability = learner.forward(batch.images, batch.labels, batch.has_lung)
        batch.add_to(found, probability[0])
        sums.loss += float(losses[: batch.n_slices].sum())
        sums.weight += batch.n_slices
        if len(probability) > 1:
            is_lung = threshold_probability(probability[1][batch.has_lung], WATCH_THRESHOLD)
            lung += count_pixels(is_lung, lung_of(batch.labels[batch.has_lung]))
    found.close_case()
    for histogram in found.of_patients.values():
        sums.counts += histogram.counts_at(probability_level(WATCH_THRESHOLD))
    return sums, lung, found.of_patients


def sample_masks(
    learner: Learner, batches: Iterable[ValidationBatch], training: TrainingConfig
) -> tuple[QualitySamples, dict[str, SmallLesions]]:
    """Return samples of the quality of slices with lesion, and the small lesions of each patient."""
    found, small = CaseQualities(smooths=training.z_smoothing), CaseSmallLesions(smooths=training.z_smoothing)
    for batch in batches:
        lesion, *lungs = learner.predict(batch.images)
        where = batch.case_ids, batch.slice_indices, batch.patients
        found.add(*where, lesion, lesion_of(batch.labels), batch.images, *lungs)
        small.add(*where, lesion, lesion_of(batch.labels))
    found.close_case()
    small.close_case()
    return found.samples, small.of_patients


def validate_with_flips(learner: Learner, batches: Iterable[ValidationBatch], training: TrainingConfig) -> Histograms:
    """Return the histogram of each patient, predicted with test-time flips."""
    predict = partial(predict_in_batches, learner.predict, batch_size=training.batch_size)
    found = _histograms(training)
    for batch in batches:
        batch.add_to(found, predict_with_flips(predict, batch.images)[0])
    found.close_case()
    return found.of_patients


def _histograms(training: TrainingConfig) -> CaseHistograms:
    counts_lesions = training.threshold is None and training.operating_point == "max_false_lesions"
    return CaseHistograms(smooths=training.z_smoothing, counts_lesions=counts_lesions)


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([values, np.zeros((size - len(values), *values.shape[1:]), values.dtype)])
