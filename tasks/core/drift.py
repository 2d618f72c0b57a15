"""Drift: how far the appearance of scans lies from that of the slices a network was trained on.

Each training source is a normal distribution of appearance (`core/appearance.py`) in which patients weigh alike. The
distance of a slice is the Mahalanobis distance to the nearest source, divided by the one that 93 % of the training
slices stay below when their own patient is left out: above 1, a slice is unlike the training data.

Source of the distance as a measure of what is foreign: Lee et al., NeurIPS 2018, arXiv 1807.03888.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from tasks.core.appearance import FEATURES, RESOLUTION
from tasks.core.numbers import count, score
from tasks.core.record import Record

SHRINKAGE = 0.5
"""Share of the features' own variances that is added to a source's covariance, divided by its number of patients, of
whom there are often fewer than features."""
TYPICAL_SHARE = 0.93
"""Share of slices of left-out training patients, who weigh alike, that counts as like the training data. Of the public
scans 4 % of the slices of new patients are then above 1 (infra/docs/accuracy.md)."""
MAX_FOREIGN_SHARE = 0.2
"""Share of a collection's scans beyond which the collection is warned of."""
MIN_LIMIT = 0.5
"""Least limit: at 1, every feature differs by what means nothing. Copies of one patient would set it to 0."""
MAX_LEFT_OUT = 100
"""Patients by whom the limit is set, of more an even choice: each is a fit of all slices."""
DRIFT_MARK = "drift:"
"""Beginning of the warning about a collection."""


class SourceAppearance(Record):
    """Appearance of a training source, without its name, which may come from the names of files.

    Attributes:
        n_patients: Patients.
        n_slices: Slices.
        mean: Mean of each feature.
        covariance: Covariance of the features, float32 in base64, row by row.
    """

    n_patients: int
    n_slices: int
    mean: tuple[float, ...]
    covariance: str

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        """Refuse what damage or another's hand may leave: scans would end with an error each."""
        try:
            np.linalg.cholesky(self.covariance_matrix)
        except (ValueError, np.linalg.LinAlgError) as err:
            raise ValueError("a covariance of its features was expected") from err
        return self

    @property
    def covariance_matrix(self) -> np.ndarray:
        """Covariance of the features, float64 `(F, F)`."""
        stored = np.frombuffer(base64.b64decode(self.covariance), np.float32)
        return stored.reshape(len(self.mean), len(self.mean)).astype(np.float64)


class TrainingAppearance(Record):
    """Appearance of the slices a network was trained on.

    Attributes:
        features: Names of the features.
        sources: By source.
        limit: Mahalanobis distance per feature that `TYPICAL_SHARE` of the slices of left-out patients stay below.
    """

    features: tuple[str, ...]
    sources: tuple[SourceAppearance, ...] = Field(min_length=1)
    limit: float = Field(gt=0)

    @model_validator(mode="after")
    def _has_every_feature(self) -> Self:
        if any(len(source.mean) != len(self.features) for source in self.sources):
            raise ValueError("a mean of each feature was expected")
        return self


class CollectionDrift(Record):
    """Drift of a collection: the median score of its scans, and how many are above 1, so unlike the training data."""

    n_scans: int
    n_foreign: int
    median: float

    @classmethod
    def of(cls, scores: Iterable[float | None]) -> Self | None:
        """Return the drift of the scans that have a score; None if none has."""
        known = np.array([score for score in scores if score is not None])
        if not known.size:
            return None
        return cls(n_scans=known.size, n_foreign=int(np.count_nonzero(known > 1)), median=float(np.median(known)))

    def warnings(self) -> Iterator[str]:
        """Yield the warning about a collection of which too much is unlike the training data."""
        if self.n_foreign > MAX_FOREIGN_SHARE * self.n_scans:
            yield (
                f"{DRIFT_MARK} {count(self.n_foreign)} of {count(self.n_scans)} scans look unlike the training data "
                f"(score above 1; median {score(self.median)}). Masks may miss lesions: check some, and train with "
                "labelled scans of this kind."
            )


@dataclass(frozen=True, slots=True)
class DriftScorer:
    """Scores of new slices against the training sources.

    Attributes:
        means: float64 `(S, F)`, of S sources.
        precisions: Inverse covariances, float64 `(S, F, F)`.
        limit: Distance at which the score is 1.
    """

    means: np.ndarray
    precisions: np.ndarray
    limit: float = 1.0

    @classmethod
    def of(cls, training: TrainingAppearance | None) -> Self | None:
        """Return the scorer of a bundle; None if it has no appearance, or of other features than are measured now."""
        if training is None or training.features != FEATURES:
            return None
        covariances = np.array([source.covariance_matrix for source in training.sources])
        return cls(np.array([source.mean for source in training.sources]), np.linalg.inv(covariances), training.limit)

    def slices(self, features: np.ndarray) -> np.ndarray:
        """Return the score of each slice, float64 `(N,)`, from features `(N, F)`."""
        away = features[np.newaxis].astype(np.float64) - self.means[:, np.newaxis]
        squared = np.einsum("snf,sfg,sng->sn", away, self.precisions, away)
        nearest: np.ndarray = np.sqrt(np.maximum(squared.min(axis=0), 0) / features.shape[1]) / self.limit
        return nearest

    def scan(self, features: np.ndarray) -> float:
        """Return the score of a scan: the median over its slices."""
        return float(np.median(self.slices(features)))


def appearance_of_training(
    features: np.ndarray, *, patients: Sequence[str], sources: Sequence[str]
) -> TrainingAppearance | None:
    """Return the appearance of training slices; None if no source has two patients, by whom a limit could be set.

    Args:
        features: float32 `(N, F)`, as of `appearance_of`.
        patients: Patient of each slice.
        sources: Source of each slice.
    """
    # as numbers: comparing texts would take most of the time
    of_patient, of_source = (np.unique(list(each), return_inverse=True)[1] for each in (patients, sources))
    names = np.unique(of_source)
    left_out, weights = [], []
    for patient, source in _chosen(of_patient, of_source):
        is_new = (of_patient == patient) & (of_source == source)
        scorer = _scorer(features[~is_new], of_patient[~is_new], of_source[~is_new])
        left_out.append(scorer.slices(features[is_new]))
        weights.append(np.full(is_new.sum(), 1 / is_new.sum()))
    if not left_out:
        return None
    limit = np.quantile(np.concatenate(left_out), TYPICAL_SHARE, weights=np.concatenate(weights), method="inverted_cdf")
    fitted = _fit_all(features, of_patient, of_source)
    return TrainingAppearance(
        features=FEATURES,
        sources=tuple(
            SourceAppearance(
                n_patients=len(np.unique(of_patient[of_source == name])),
                n_slices=int((of_source == name).sum()),
                mean=tuple(np.round(mean, 6).tolist()),
                covariance=base64.b64encode(covariance.astype(np.float32).tobytes()).decode(),
            )
            for name, (mean, covariance) in zip(names, fitted, strict=True)
        ),
        limit=max(float(limit), MIN_LIMIT),
    )


def joined(earlier: TrainingAppearance | None, later: TrainingAppearance | None) -> TrainingAppearance | None:
    """Return the appearance of a bundle that was fine-tuned: the sources of both trainings, and the wider limit."""
    if earlier is None or later is None or earlier.features != later.features:
        return later or earlier
    return TrainingAppearance(
        features=later.features, sources=earlier.sources + later.sources, limit=max(earlier.limit, later.limit)
    )


def _chosen(patients: np.ndarray, sources: np.ndarray) -> list[tuple[int, int]]:
    """Return the patients to leave out, with their source: of sources with two patients, and not too many."""
    pairs = np.unique(np.stack([patients, sources], axis=1), axis=0)
    n_patients = np.bincount(pairs[:, 1]) if len(pairs) else np.array([])
    able = [(int(patient), int(source)) for patient, source in pairs if n_patients[source] > 1]
    return [able[index] for index in np.unique(np.linspace(0, len(able) - 1, MAX_LEFT_OUT).astype(int))] if able else []


def _scorer(features: np.ndarray, patients: np.ndarray, sources: np.ndarray) -> DriftScorer:
    fitted = _fit_all(features, patients, sources)
    return DriftScorer(np.array([mean for mean, _ in fitted]), np.linalg.inv([covariance for _, covariance in fitted]))


def _fit_all(features: np.ndarray, patients: np.ndarray, sources: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return mean and covariance of each source, in the order of their names."""
    spread = _spread(features, sources)
    return [_fit(features[sources == name], patients[sources == name], spread) for name in np.unique(sources)]


def _fit(features: np.ndarray, patients: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of a source, in which patients weigh alike."""
    _, patient, counts = np.unique(patients, return_inverse=True, return_counts=True)
    weights = 1 / counts[patient] / len(counts)
    mean = weights @ features.astype(np.float64)
    away = features - mean
    least = SHRINKAGE / len(counts) * spread**2 + np.array(RESOLUTION) ** 2
    return mean, (away * weights[:, np.newaxis]).T @ away + np.diag(least)


def _spread(features: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each feature within sources."""
    of_sources = [features[sources == name] for name in np.unique(sources)]
    away = np.concatenate([own - own.mean(axis=0) for own in of_sources])
    return np.asarray(away.std(axis=0).astype(np.float64))
