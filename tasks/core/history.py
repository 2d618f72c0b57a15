"""Outcome of a training besides the weights: history and histograms of probabilities."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.core.config.learning import TrainingConfig
from tasks.core.metrics import Counts, mean_defined, score
from tasks.core.operating_point import OperatingPoint, choose_operating_point
from tasks.core.probability_histogram import ProbabilityHistogram
from tasks.core.quality import QualitySamples
from tasks.core.small_lesions import SmallLesions

EpochRow = dict[str, float | int | None]
"""One epoch: learning rate, seconds, and train_ and val_ figures and counts by name; undefined ratios are None."""

CURVE_METRICS = {"f1": "dice", "precision": "precision", "recall": "recall", "accuracy": "accuracy", "iou": "iou"}
"""Metric of each column of the history."""

CURVES: dict[str, tuple[str, ...]] = {
    "f1": ("f1",),
    "precision": ("precision",),
    "recall": ("recall",),
    "recall_precision": ("recall", "precision"),
    "accuracy": ("accuracy",),
    "loss": ("loss",),
}
"""Training curves of a bundle, and the columns of the history in each."""


@dataclass(slots=True)
class TrainingOutcome:
    """Outcome of a training, as the first worker returns it.

    Attributes:
        history: One row per epoch.
        best_epoch: Epoch whose weights were kept, counted from 1.
        histograms: Histograms of the best epoch by validation patient, to choose the operating point from.
        flipped: The same with test-time flips, after the training; empty if flips are switched off.
        quality: Samples of the validation slices with lesion, after the training.
        small: Small lesions by validation patient, after the training, without flips.
    """

    history: list[EpochRow] = field(default_factory=list)
    best_epoch: int = 0
    histograms: dict[str, ProbabilityHistogram] = field(default_factory=dict)
    flipped: dict[str, ProbabilityHistogram] = field(default_factory=dict)
    quality: QualitySamples = field(default_factory=QualitySamples)
    small: dict[str, SmallLesions] = field(default_factory=dict)

    @property
    def best_penalised_dice(self) -> float | None:
        """Penalised mean Dice of the best epoch; None before the first epoch, or without a validation lesion."""
        return self.history[self.best_epoch - 1]["val_penalised_dice"] if self.best_epoch else None

    @property
    def best_validation(self) -> EpochRow:
        """Validation figures of the best epoch."""
        return {name: value for name, value in self.history[self.best_epoch - 1].items() if name.startswith("val_")}

    def operating_point(self, asked: TrainingConfig) -> OperatingPoint:
        """Return the operating point chosen on these patients, except for what the parameters set."""
        single, flipped = (list(of.values()) for of in (self.histograms, self.flipped))
        small = [self.small[patient] for patient in self.histograms if patient in self.small]
        return choose_operating_point(single, flipped, asked, small)

    @classmethod
    def of_folds(cls, folds: Sequence["TrainingOutcome"]) -> "TrainingOutcome":
        """Return the joint outcome of the folds of a cross-validation.

        Per epoch, pixels and slices are summed over the folds and ratios computed from the sums; other figures are
        means over the folds that have them. Each patient is held out once, so all histograms are kept.
        """
        n_epochs = max(len(fold.history) for fold in folds)
        rows = [[fold.history[epoch] for fold in folds if epoch < len(fold.history)] for epoch in range(n_epochs)]
        histograms = {patient: histogram for fold in folds for patient, histogram in fold.histograms.items()}
        flipped = {patient: histogram for fold in folds for patient, histogram in fold.flipped.items()}
        quality = sum((fold.quality for fold in folds), QualitySamples())
        small = {patient: found for fold in folds for patient, found in fold.small.items()}
        return cls([_row_of_folds(of_epoch) for of_epoch in rows], n_epochs, histograms, flipped, quality, small)

    def to_csv(self) -> bytes:
        """Return the history as CSV; undefined ratios are empty."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(self.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        return buffer.getvalue().encode()


def _row_of_folds(rows: Sequence[EpochRow]) -> EpochRow:
    summed = {"train_slices", *(f"{side}_{name}" for side in ("train", "val") for name in ("tp", "fp", "fn", "tn"))}
    together: EpochRow = {
        name: sum(int(row[name] or 0) for row in rows) if name in summed else mean_defined([row[name] for row in rows])
        for name in rows[0]
    }
    for side in ("train", "val"):
        counts = Counts(*(int(together[f"{side}_{name}"] or 0) for name in ("tp", "fp", "fn", "tn")))
        together |= ratios_of(counts, side)
    return together | {"epoch": rows[0]["epoch"], "n_folds": len(rows)}


def ratios_of(counts: Counts, side: str) -> EpochRow:
    """Return the ratios of an epoch as columns of the history, with the prefix `train_` or `val_`."""
    ratios = score(counts)
    return {f"{side}_{name}": ratios[metric] for name, metric in CURVE_METRICS.items()}
