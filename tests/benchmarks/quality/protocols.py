"""Protocols: which slices train a network, and which it never saw."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.core.config.preparation import Fractions
from tasks.core.splits import fold_patients, split_slices
from tests.benchmarks.quality.collection import SOURCES, Slices

N_FOLDS = 4
FOLD_SEED = 0
"""Folds stay the same for every seed of the training, so that recipes are compared patient by patient."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part of a protocol: one training.

    Attributes:
        name: Name of the part.
        train: Indices of the slices to train on.
        unseen: Indices of the slices to score.
    """

    name: str
    train: np.ndarray
    unseen: np.ndarray


def cross_validation(slices: Slices) -> list[Part]:
    """Return the folds by patient over both sources; every patient is unseen once."""
    fold_of = fold_patients(slices.source_of, n_folds=N_FOLDS, seed=FOLD_SEED)
    return [
        _unseen(slices, f"fold{fold}", {patient for patient, of in fold_of.items() if of == fold})
        for fold in range(N_FOLDS)
    ]


def leave_one_source_out(slices: Slices) -> list[Part]:
    """Return one part per source: trained on all others."""
    return [
        _unseen(slices, f"without-{source}", {patient for patient, of in slices.source_of.items() if of == source})
        for source in SOURCES
    ]


def random_slices(slices: Slices) -> list[Part]:
    """Return the original brief's split: a fifth of the slices at random, neighbours of which are trained on."""
    keys = [(each.case_id, each.slice_index) for each in slices.identities]
    split = split_slices(keys, fractions=Fractions(val=0.08, test=0.2), seed=FOLD_SEED)
    of = np.array([split[key] for key in keys])
    return [Part("random", np.flatnonzero(of == "train"), np.flatnonzero(of == "test"))]


def _unseen(slices: Slices, name: str, patients: set[str]) -> Part:
    unseen = slices.of(patients)
    return Part(name, np.setdiff1d(np.arange(len(slices)), unseen), unseen)


PROTOCOLS: dict[str, Callable[[Slices], list[Part]]] = {
    "cv": cross_validation,
    "source": leave_one_source_out,
    "random": random_slices,
}
