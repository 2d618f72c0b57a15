"""Expected quality of a mask: the Dice it would have against an expert's, from what the model gives anyway.

A network is sure of masks that are wrong, so soft Dice alone promises too much (infra/docs/accuracy.md). A linear
model of four features is fitted to slices of patients the network never saw, and an interval to how far it was off for
patients it was not fitted to (conformal, by jackknife over patients).

An empty mask has the expected Dice 0, as Dice is undefined where the expert finds no lesion either.

Sources: soft Dice as confidence, Li et al., arXiv 2402.10665; intervals, Barber et al., Ann. Statist. 49(1), 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import cv2
import numpy as np
from pydantic import model_validator

from tasks.core.landmarks import STANDARD_LUNG
from tasks.core.metrics import count_pixels, dice
from tasks.core.postprocess import threshold_probability
from tasks.core.probability_histogram import CURVE_LEVELS
from tasks.core.record import Record

FEATURES = ("confidence", "thickness", "size", "contrast")
"""Soft Dice of probability and mask; share of the mask that is not its outline; logarithm of its pixels; how much
brighter than lung it is, in hundreds of levels."""

COVERAGE = 0.9
"""Share of new slices whose Dice lies in the interval."""
RIDGE = 0.1
"""Penalty on the coefficients, of standardised features."""
BIN_EDGES = (0.5, 0.7)
"""Expected Dice between which intervals are of their own: low values are less certain."""
MAX_STEP = 0.06
"""Largest difference between a threshold and that of its calibration: calibrations are 0.1 apart."""
MIN_PATIENTS, MIN_SLICES = 3, 30
"""Fewest patients and slices with lesion that a calibration is made from."""
MAX_SAMPLES = 5_000
"""Slices of a training from which a calibration is made: 1 MB."""
_FEW_PX = 20


class QualityCalibration(Record):
    """Model of the expected Dice, and how far it is off.

    Attributes:
        features: Names of the features.
        threshold: Threshold of the masks it was made from.
        mean: Mean of each feature.
        spread: Standard deviation of each.
        coefficients: Of the standardised features.
        intercept: Expected Dice at their means.
        low: Dice minus expected Dice that 5 % of the slices are below, by bin of expected Dice.
        high: That 5 % are above, likewise.
        n_patients: Patients it was made from.
        n_slices: Their slices with lesion and mask.
    """

    features: tuple[str, ...]
    threshold: float
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    n_patients: int
    n_slices: int

    @model_validator(mode="after")
    def _has_every_feature(self) -> Self:
        """Refuse what damage or another's hand may leave: scans would end with an error each."""
        by_feature = (self.mean, self.spread, self.coefficients)
        by_bin = (self.low, self.high)
        if {len(of) for of in by_feature} != {len(self.features)} or {len(of) for of in by_bin} != {len(BIN_EDGES) + 1}:
            raise ValueError("a number of each feature, and of each bin, was expected")
        if min(self.spread) <= 0:
            raise ValueError("spreads above 0 were expected")
        return self


@dataclass(frozen=True, slots=True)
class QualitySamples:
    """Features and Dice of validation slices with lesion, at each threshold of `CURVE_LEVELS`.

    Attributes:
        patients: Patient of each slice.
        values: float32 `(N, len(CURVE_LEVELS), 5)`: the features, then the Dice; NaN where the mask is empty.
    """

    patients: tuple[str, ...] = ()
    values: np.ndarray = field(default_factory=lambda: np.empty((0, len(CURVE_LEVELS), len(FEATURES) + 1), np.float32))

    @classmethod
    def of(cls, patients: Sequence[str], values: Sequence[np.ndarray]) -> Self:
        """Return the samples of slices, of too many an even choice."""
        step = -(-len(values) // MAX_SAMPLES) or 1
        return cls(tuple(patients[::step]), np.array(values[::step], np.float32)) if values else cls()

    def __add__(self, other: "QualitySamples") -> "QualitySamples":
        return QualitySamples(self.patients + other.patients, np.concatenate([self.values, other.values]))

    def calibrations(self) -> "tuple[QualityCalibration, ...]":
        """Return a calibration for each sampled threshold at which slices are not too few: a run may set its own."""
        found = (self._calibration(index, level / 255) for index, level in enumerate(CURVE_LEVELS))
        return tuple(calibration for calibration in found if calibration is not None)

    def _calibration(self, index: int, threshold: float) -> "QualityCalibration | None":
        values = self.values[:, index].astype(np.float64)
        has_mask = ~np.isnan(values[:, 0])
        patients = [self.patients[number] for number in np.flatnonzero(has_mask)]
        return fit_quality(values[has_mask, :-1], values[has_mask, -1], patients, threshold=threshold)


def sample_slice(
    probability: np.ndarray, image: np.ndarray, lung: np.ndarray | None, reference: np.ndarray
) -> np.ndarray:
    """Return the sample of a slice with lesion, float32 `(len(CURVE_LEVELS), 5)`; arguments as `quality_features`.

    Args:
        probability: As there.
        image: As there.
        lung: As there.
        reference: Mask of 0 and 1, `(H, W)`.
    """
    found = np.full((len(CURVE_LEVELS), len(FEATURES) + 1), np.nan, np.float32)
    for row, level in zip(found, CURVE_LEVELS, strict=True):
        features = quality_features(probability, image, lung, threshold=level / 255)
        if features is None:
            break  # so are those of higher thresholds
        counts = count_pixels(threshold_probability(probability, level / 255), reference)
        row[:] = *features, dice(counts) or 0.0
    return found


@dataclass(frozen=True, slots=True)
class Quality:
    """Expected Dice of a scan, with its interval."""

    expected: float
    low: float
    high: float

    @classmethod
    def of_empty(cls) -> Self:
        """Return the quality of an empty mask."""
        return cls(0.0, 0.0, 0.0)


def quality_features(
    probability: np.ndarray, image: np.ndarray, lung: np.ndarray | None, *, threshold: float
) -> np.ndarray | None:
    """Return the features of a slice, float32 `(4,)`; None if the mask is empty.

    Args:
        probability: Lesion, uint8 `(H, W)`, in units of 1/255, at the model's size.
        image: The slice as the network takes it, likewise.
        lung: Probability of lung, likewise; None if the model has no such output.
        threshold: Smallest probability at which a pixel is labelled lesion.
    """
    mask = threshold_probability(probability, threshold)
    n_pixels = int(np.count_nonzero(mask))
    if not n_pixels:
        return None
    is_lesion = mask > 0
    in_mask, in_all = (float(of.sum(dtype=np.int64)) / 255 for of in (probability[is_lesion], probability))
    inner = int(np.count_nonzero(cv2.erode(mask, np.ones((3, 3), np.uint8))))
    level = float(STANDARD_LUNG)
    if lung is not None:
        around = image[(lung > 127) & ~is_lesion]
        level = float(np.median(around)) if around.size >= _FEW_PX else level
    contrast = (float(image[is_lesion].mean()) - level) / 100
    values = (2 * in_mask / (n_pixels + in_all), inner / n_pixels, np.log1p(n_pixels), contrast)
    return np.array(values, np.float32)


def fit_quality(
    features: np.ndarray, dice: np.ndarray, patients: Sequence[str], *, threshold: float
) -> QualityCalibration | None:
    """Return the calibration from slices with lesion and mask of unseen patients; None if they are too few.

    Args:
        features: float32 `(N, 4)`, as of `quality_features`.
        dice: Dice of each slice.
        patients: Patient of each.
        threshold: Threshold of the masks.
    """
    of_patient = np.unique(list(patients), return_inverse=True)[1]  # as numbers, which are compared for each patient
    names = np.unique(of_patient)
    if len(names) < MIN_PATIENTS or len(dice) < MIN_SLICES:
        return None
    left_out = np.empty(len(dice))
    for name in names:
        is_own = of_patient == name
        left_out[is_own] = _fit(features[~is_own], dice[~is_own], of_patient[~is_own]).predict(features[is_own])
    low, high = _residuals(left_out, dice - left_out, of_patient)
    model = _fit(features, dice, of_patient)
    return QualityCalibration(
        features=FEATURES,
        threshold=threshold,
        mean=tuple(model.mean.tolist()),
        spread=tuple(model.spread.tolist()),
        coefficients=tuple(model.coefficients.tolist()),
        intercept=model.intercept,
        low=low,
        high=high,
        n_patients=len(names),
        n_slices=len(dice),
    )


@dataclass(frozen=True, slots=True)
class QualityModel:
    """Linear model of the expected Dice, and its residuals by bin."""

    mean: np.ndarray
    spread: np.ndarray
    coefficients: np.ndarray
    intercept: float
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, calibrations: Sequence[QualityCalibration], threshold: float) -> Self | None:
        """Return the model of a bundle for masks at a threshold, from the calibration at the nearest one.

        None if the bundle has none within `MAX_STEP`, or of other features than are measured now.
        """
        usable = [found for found in calibrations if found.features == FEATURES]
        calibration = min(usable, key=lambda found: abs(found.threshold - threshold), default=None)
        if calibration is None or abs(calibration.threshold - threshold) > MAX_STEP:
            return None
        mean, spread, coefficients, low, high = (
            np.array(values)
            for values in (
                calibration.mean,
                calibration.spread,
                calibration.coefficients,
                calibration.low,
                calibration.high,
            )
        )
        return cls(mean, spread, coefficients, calibration.intercept, low, high)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the expected Dice of slices, float64 `(N,)`, from features `(N, 4)`."""
        expected: np.ndarray = self.intercept + (features - self.mean) / self.spread @ self.coefficients
        return np.asarray(np.clip(expected, 0, 1))

    def scan(self, features: Sequence[np.ndarray]) -> Quality:
        """Return the quality of a scan from the features of its slices with lesion: their mean, weighted by pixels."""
        if not features:
            return Quality.of_empty()
        slices = np.array(features, np.float64)
        expected, weights = self.predict(slices), np.expm1(slices[:, FEATURES.index("size")])
        bins = np.searchsorted(BIN_EDGES, expected)
        values = (expected, expected + self.low[bins], expected + self.high[bins])
        return Quality(*(float(np.average(np.clip(of, 0, 1), weights=weights)) for of in values))


def _fit(features: np.ndarray, dice: np.ndarray, patients: np.ndarray) -> QualityModel:
    """Return a ridge regression in which a patient weighs by the square root of the number of their slices."""
    _, patient, counts = np.unique(patients, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[patient])
    weights /= weights.sum()
    mean, spread = weights @ features, features.std(axis=0) + 1e-6
    standard = (features - mean) / spread
    intercept = float(weights @ dice)
    normal = (standard * weights[:, np.newaxis]).T @ standard + RIDGE * np.eye(standard.shape[1])
    coefficients = np.linalg.solve(normal, (standard * weights[:, np.newaxis]).T @ (dice - intercept))
    nothing = np.zeros(len(BIN_EDGES) + 1)
    return QualityModel(mean, spread, coefficients, intercept, nothing, nothing)


def _residuals(
    expected: np.ndarray, residuals: np.ndarray, patients: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the lower and upper quantile of residuals by bin of expected Dice; patients weigh as when fitting."""
    _, patient, counts = np.unique(patients, return_inverse=True, return_counts=True)
    weights, bins = 1 / np.sqrt(counts[patient]), np.searchsorted(BIN_EDGES, expected)
    shares = (1 - COVERAGE) / 2, (1 + COVERAGE) / 2
    found = []
    for number in range(len(BIN_EDGES) + 1):
        own = bins == number
        if np.count_nonzero(own) < _FEW_PX:
            own = np.ones(len(bins), bool)
        low, high = np.quantile(residuals[own], shares, weights=weights[own], method="inverted_cdf")
        found.append((min(float(low), 0.0), max(float(high), 0.0)))  # of few patients all may be off on one side
    return tuple(low for low, _ in found), tuple(high for _, high in found)
