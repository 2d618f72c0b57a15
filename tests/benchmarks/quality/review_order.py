"""How early slices of low Dice come up in the review queue, on patients that neither network nor calibration saw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.quality import FEATURES
from tasks.core.review_queue import ranked
from tests.benchmarks.quality.calibration import LOW_DICE, Samples, estimates
from tests.core.samples import DONE

FIRST = 0.2
N_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class InQueue:
    """Slices in the order of the queue, the first to be looked at first.

    Attributes:
        dice: Dice of each.
        patients: Patient of each.
        has_mask: Whether the network found a lesion in it.
    """

    dice: np.ndarray
    patients: np.ndarray
    has_mask: np.ndarray

    def take(self, places: np.ndarray) -> "InQueue":
        """Return the slices at places, which must rise to keep the order."""
        return InQueue(self.dice[places], self.patients[places], self.has_mask[places])

    def share_found(self) -> float:
        """Return the low slices in the first fifth, divided by those that a perfect order has there."""
        is_low, n_first = self.dice < LOW_DICE, int(FIRST * len(self.dice))
        return float(is_low[:n_first].sum() / min(n_first, is_low.sum()))

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of `share_found`, by resampling of patients."""
        random, patients = np.random.default_rng(0), np.unique(self.patients)
        of_patient = {patient: np.flatnonzero(self.patients == patient) for patient in patients}
        found = []
        for _ in range(N_RESAMPLES):
            drawn = [of_patient[patient] for patient in random.choice(patients, len(patients))]
            found.append(self.take(np.sort(np.concatenate(drawn))).share_found())
        low, high = np.percentile(found, (2.5, 97.5))
        return float(low), float(high)


def queue_of(folds: Sequence[Samples]) -> InQueue:
    """Return the slices of all folds as one collection in the order of its queue, each slice as a scan of its own.

    Neither drift nor flags other than `no_lesion` are among the samples, so that the queue has quality and size alone.
    """
    rows, dices, patients = [], [], []
    for fold, found in estimates(folds):
        for patient, true, features, (expected, *_) in zip(fold.patients, fold.dice, fold.features, found, strict=True):
            size_px = np.expm1(features[FEATURES.index("size")])
            is_empty = bool(np.isnan(size_px))
            change = {
                "scan_id": f"{len(rows):06d}",
                "lesion_voxels": 0 if is_empty else round(float(size_px)),
                "n_lesions": 0 if is_empty else 1,
                "quality": float(expected),
                "flags": ["no_lesion"] if is_empty else [],
            }
            rows.append(DONE.model_copy(update=change))
            dices.append(true)
            patients.append(patient)
    order = np.array([int(row.scan_id) for row in ranked(rows)])
    has_mask = np.array([row.n_lesions > 0 for row in rows])
    return InQueue(np.array(dices)[order], np.array(patients)[order], has_mask[order])
