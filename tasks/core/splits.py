"""Splits: by patient, stable when patients are added, or by slice, which leaks patients."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from tasks.core.catalog import SPLITS, Split
from tasks.core.config.preparation import Fractions
from tasks.core.errors import ConfigError
from tasks.core.plural import counted


def split_patients(
    source_of: Mapping[str, str], *, fractions: Fractions, seed: int, earlier: Mapping[str, Split] | None = None
) -> dict[str, Split]:
    """Assign each patient to train, val or test.

    Earlier assignments never change. New patients, in hash order, go to the split of their source with the fewest;
    every split has at least one patient in the end. The result does not depend on the order of `source_of`.

    Args:
        source_of: Source of each patient, by `patient_id`.
        fractions: Intended fractions of each source.
        seed: Seed of the hash order.
        earlier: Assignments of a previous dataset, by `patient_id`; patients no longer present are ignored.

    Returns:
        Split by `patient_id`, of the patients in `source_of`.

    Raises:
        ConfigError: If there are fewer than three patients, or the earlier assignments leave a split without any.
    """
    if len(source_of) < len(SPLITS):
        raise ConfigError(
            f"Found {counted(len(source_of), 'patient')}; a split by patient needs at least 3. "
            "Add patients, set preparation.patient_id_pattern so that patients are distinguished, "
            "or set preparation.strategy to slice and accept the leak."
        )
    assigned = {patient: split for patient, split in (earlier or {}).items() if patient in source_of}
    new = sorted(source_of.keys() - assigned.keys(), key=lambda patient: _hash_order(seed, patient))
    for n_left, patient in zip(range(len(new), 0, -1), new, strict=True):
        candidates: Sequence[Split] = SPLITS
        empty = [split for split in SPLITS if split not in assigned.values()]
        if n_left <= len(empty):  # the last patients must go to empty splits
            candidates = empty
        filled = Counter(split for other, split in assigned.items() if source_of[other] == source_of[patient])
        assigned[patient] = min(
            candidates, key=lambda split: (filled[split] / getattr(fractions, split), -getattr(fractions, split))
        )
    empty = sorted(set(SPLITS) - set(assigned.values()))
    if empty:
        raise ConfigError(
            f"No patient is left for {', '.join(empty)}: those assigned to it earlier are gone, and nobody moves. "
            "Add patients, or prepare into a new folder."
        )
    return assigned


def fold_patients(source_of: Mapping[str, str], *, n_folds: int, seed: int) -> dict[str, int]:
    """Assign each patient to a fold of the cross-validation, those of each source evenly.

    In hash order, source after source, each to the next fold: the folds of a source differ by one patient at most, and
    so do all folds. The result does not depend on the order of `source_of`.

    Args:
        source_of: Source of each patient, by `patient_id`.
        n_folds: Number of folds, at least 2.
        seed: Seed of the hash order.

    Returns:
        Fold by `patient_id`, counted from 0.

    Raises:
        ConfigError: If there are fewer patients than folds.
    """
    if len(source_of) < n_folds:
        raise ConfigError(
            f"Found {counted(len(source_of), 'patient')} to train on; {n_folds} folds need as many at least. "
            "Set training.folds lower, or add patients."
        )
    ordered = sorted(source_of, key=lambda patient: (source_of[patient], _hash_order(seed, patient)))
    return {patient: rank % n_folds for rank, patient in enumerate(ordered)}


def split_slices(keys: Sequence[tuple[str, int]], *, fractions: Fractions, seed: int) -> dict[tuple[str, int], Split]:
    """Assign each slice at random: slices of one patient land in several splits, which leaks.

    Args:
        keys: (case_id, slice_index) of every slice.
        fractions: Fractions of the slices.
        seed: Seed of the hash order.

    Returns:
        Split by (case_id, slice_index).

    Raises:
        ConfigError: If there are too few slices for each split to get one.
    """
    n_val, n_test = round(len(keys) * fractions.val), round(len(keys) * fractions.test)
    if min(n_val, n_test, len(keys) - n_val - n_test) < 1:
        raise ConfigError(f"Found {len(keys)} slices; these fractions leave a split without any. Add slices.")
    ordered = sorted(keys, key=lambda key: _hash_order(seed, f"{key[0]}:{key[1]}"))
    sides: dict[tuple[str, int], Split] = dict.fromkeys(ordered, "train")
    sides |= dict.fromkeys(ordered[:n_val], "val")
    sides |= dict.fromkeys(ordered[n_val : n_val + n_test], "test")
    return sides


def _hash_order(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()
