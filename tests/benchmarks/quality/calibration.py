"""Expected quality against true Dice, slice by slice, on patients that neither network nor calibration ever saw."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.core.landmarks import apply_rule
from tasks.core.metrics import count_pixels, dice
from tasks.core.postprocess import threshold_probability
from tasks.core.quality import FEATURES, QualityModel, fit_quality, quality_features
from tests.benchmarks.quality import results
from tests.benchmarks.quality.collection import Slices
from tests.benchmarks.quality.recipes import Recipe

THRESHOLD = 0.4
LOW_DICE = 0.6
WORST = 0.2
COLUMNS = ("patient_id", "has_lesion", "dice", *FEATURES)


@dataclass(frozen=True, slots=True)
class Samples:
    """Slices of the unseen patients of a fold, those with a lesion or a mask.

    Attributes:
        patients: Patient of each slice.
        has_lesion: Whether its reference has a lesion.
        dice: Dice of each.
        features: Features of each, `(N, 4)`; NaN where its mask is empty.
    """

    patients: list[str]
    has_lesion: np.ndarray
    dice: np.ndarray
    features: np.ndarray

    def with_lesion(self) -> "Samples":
        """Return the slices whose reference has a lesion."""
        places = np.flatnonzero(self.has_lesion)
        patients = [self.patients[place] for place in places]
        return Samples(patients, self.has_lesion[places], self.dice[places], self.features[places])

    def write(self, path: Path) -> None:
        """Write the file."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for patient, has_lesion, value, features in zip(
                self.patients, self.has_lesion, self.dice, self.features, strict=True
            ):
                shown = ("" if np.isnan(feature) else f"{feature:.4f}" for feature in features)
                writer.writerow([patient, int(has_lesion), f"{value:.4f}", *shown])

    @classmethod
    def read(cls, path: Path) -> "Samples":
        """Return the samples in a file."""
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        features = [[float(row[name] or "nan") for name in FEATURES] for row in rows]
        return cls(
            [row["patient_id"] for row in rows],
            np.array([row["has_lesion"] == "1" for row in rows]),
            np.array([float(row["dice"]) for row in rows]),
            np.array(features),
        )


def path_of(recipe: str, part: str, seed: int) -> Path:
    """Return the file of a fold's samples."""
    return results.FOLDER / f"{recipe}.{part}.{seed}.slices.csv"


def sample(slices: Slices, outputs: np.ndarray, smoothed: np.ndarray, recipe: Recipe) -> Samples:
    """Return the samples of slices.

    Args:
        slices: Slices of unseen patients.
        outputs: What the network predicts of them, `(n_outputs, N, 256, 256)`.
        smoothed: Lesion probabilities, smoothed along z.
        recipe: Recipe of the network.
    """
    images = apply_rule(slices.images, recipe.model.intensity_rule)
    patients, has_lesion, dices, features = [], [], [], []
    for index, identity in enumerate(slices.identities):
        mask, reference = threshold_probability(smoothed[index], THRESHOLD), (slices.masks[index] > 0).astype(np.uint8)
        of_both = dice(count_pixels(mask, reference))
        if of_both is None:  # neither a lesion nor a mask
            continue
        lung = outputs[1][index] if len(outputs) > 1 else None
        found = quality_features(smoothed[index], images[index], lung, threshold=THRESHOLD)
        features.append(np.full(len(FEATURES), np.nan) if found is None else found)
        has_lesion.append(bool(reference.any()))
        dices.append(of_both)
        patients.append(identity.patient_id)
    return Samples(patients, np.array(has_lesion), np.array(dices), np.array(features))


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well an estimate ranks slices by their Dice.

    Attributes:
        area_ratio: Area under the risk-coverage curve (1 - Dice) divided by that of a perfect ranking.
        area_roc: Area under the ROC curve for slices of Dice below `LOW_DICE`.
        found_in_worst: Low slices among the worst fifth by the estimate, divided by those a perfect ranking has there.
    """

    area_ratio: float
    area_roc: float
    found_in_worst: float

    @classmethod
    def of(cls, estimate: np.ndarray, true: np.ndarray) -> "Ranking":
        """Return the ranking of slices by an estimate."""
        is_low, n_worst = true < LOW_DICE, int(WORST * len(true))
        worst = np.argsort(estimate, kind="stable")[:n_worst]
        pairs = estimate[is_low][:, np.newaxis] - estimate[~is_low]
        return cls(
            _area(estimate, true) / _area(true, true),
            float(np.mean((pairs < 0) + 0.5 * (pairs == 0))),
            float(is_low[worst].sum() / min(n_worst, is_low.sum())),
        )


def _area(estimate: np.ndarray, true: np.ndarray) -> float:
    order = np.argsort(-estimate, kind="stable")
    return float((np.cumsum(1 - true[order]) / np.arange(1, len(true) + 1)).mean())


def estimates(folds: Sequence[Samples]) -> Iterator[tuple[Samples, np.ndarray]]:
    """Yield each fold with expected Dice and interval of its slices, `(N, 3)`, calibrated on all other folds.

    Slices without a lesion are no part of the calibration.
    """
    for fold in folds:
        others = [other.with_lesion() for other in folds if other is not fold]
        features, true = (np.concatenate([getattr(other, name) for other in others]) for name in ("features", "dice"))
        has_mask = ~np.isnan(features[:, 0])
        patients = np.concatenate([other.patients for other in others])[has_mask].tolist()
        fitted = fit_quality(features[has_mask], true[has_mask], patients, threshold=THRESHOLD)
        model = QualityModel.of([fitted] if fitted else [], THRESHOLD)
        if model is None:
            raise ValueError("too few slices for a calibration")
        found = [model.scan([] if np.isnan(each[0]) else [each]) for each in fold.features]
        yield fold, np.array([(quality.expected, quality.low, quality.high) for quality in found])
