"""Plan of the slices in each epoch: a table with one row per slice and epoch, made before the training.

Global batches are the same for any number of workers, and do not depend on which task finishes first.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from tasks.core.config.learning import TrainingConfig

USUAL_EPOCHS: Final = 16
LEAST_STEPS: Final = 900
"""Optimisation steps that a training makes unless its epochs are set: from 250 slices, 16 epochs are 256 steps, and
unseen patients gained 0.08 in mean Dice by 1,024 (infra/docs/accuracy.md)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Slices of a training, in order.

    Attributes:
        table: Rows of `SliceStore.index` with `epoch` and `weight`; padding rows have weight 0.
        steps_per_epoch: Global batches per epoch.
    """

    table: pa.Table
    steps_per_epoch: int


def n_epochs_of(index: pa.Table, training: TrainingConfig) -> int:
    """Return the largest number of epochs of a training on rows of `SliceStore.index`."""
    if training.epochs is not None:
        return training.epochs
    return max(USUAL_EPOCHS, math.ceil(LEAST_STEPS / steps_per_epoch_of(index, training)))


def steps_per_epoch_of(index: pa.Table, training: TrainingConfig) -> int:
    """Return the global batches per epoch of a training on rows of `SliceStore.index`."""
    has_lesion = index.column("has_lesion").to_numpy(zero_copy_only=False)
    n_slices = int(has_lesion.sum()) + _n_lesion_free(has_lesion, training.lesion_free_fraction)
    return math.ceil(n_slices / training.batch_size)


def plan_training(index: pa.Table, *, epochs: range, batch_size: int, lesion_free_fraction: float, seed: int) -> Plan:
    """Return the plan of epochs: all slices with lesions and a fraction of the others, shuffled per epoch.

    Each epoch is padded to whole batches with rows of weight 0.

    Args:
        index: Rows of `SliceStore.index`.
        epochs: Numbers of the epochs, from 0; the order of each depends on its number only.
        batch_size: Global batch size.
        lesion_free_fraction: Fraction of the lesion-free slices drawn per epoch.
        seed: Seed of draws and order.
    """
    has_lesion = index.column("has_lesion").to_numpy(zero_copy_only=False)
    lesion, lesion_free = np.flatnonzero(has_lesion), np.flatnonzero(~has_lesion)
    n_free = _n_lesion_free(has_lesion, lesion_free_fraction)
    n_slices = len(lesion) + n_free
    n_padding = -n_slices % batch_size
    parts = []
    for epoch in epochs:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(np.concatenate([lesion, rng.choice(lesion_free, n_free, replace=False)]))
        rows = index.take(np.concatenate([order, np.resize(order, n_padding)]))
        weight = np.repeat(np.array([1, 0], np.float32), [n_slices, n_padding])
        rows = rows.append_column("weight", pa.array(weight))
        parts.append(rows.append_column("epoch", pa.array(np.full(len(rows), epoch, np.int32))))
    return Plan(pa.concat_tables(parts), (n_slices + n_padding) // batch_size)


def _n_lesion_free(has_lesion: np.ndarray, fraction: float) -> int:
    """Return the number of lesion-free slices per epoch: all, if there are no others."""
    n_free = int(np.count_nonzero(~has_lesion))
    return round(fraction * n_free) if n_free < len(has_lesion) else n_free


def worker_share(table: pa.Table, *, batch_size: int, rank: int, num_workers: int) -> pa.Table:
    """Return the rows of one worker: its part of every global batch, batch_size / num_workers consecutive rows."""
    local_size = batch_size // num_workers
    first = np.arange(0, len(table), batch_size) + rank * local_size
    return table.take((first[:, np.newaxis] + np.arange(local_size)).ravel())
