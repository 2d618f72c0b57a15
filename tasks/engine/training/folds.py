"""Folds of a training: one training, or one per fold of a cross-validation."""

from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import ray

from tasks.core.catalog import SPLITS
from tasks.core.digests import digest
from tasks.core.schemas import DatasetCard
from tasks.core.splits import fold_patients
from tasks.core.step_inputs import TrainRequest
from tasks.engine.training.slice_loading import load_slices
from tasks.engine.training.training_run import TrainingRun
from tasks.io.checkpoints import Checkpoints
from tasks.io.versions import code_version
from tasks.stages.first_weights import FirstWeights
from tasks.stages.model_card import outputs_of

NOT_DECISIVE = {"num_workers", "gpus_per_worker", "max_restarts", "node_wait_minutes", "stall_minutes"}
"""Parameters that may change between a run and one that continues from its checkpoints."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Training and its held-out patients; without cross-validation there is one, without held-out patients.

    Attributes:
        run: The training.
        held_out: Patients it is not trained on.
    """

    run: TrainingRun
    held_out: tuple[str, ...]


def folds_of(request: TrainRequest, dataset: DatasetCard, first: FirstWeights) -> list[Fold]:
    """Return the folds of a request, with their slices in the object store.

    Args:
        request: Input of the training.
        dataset: Card of the dataset.
        first: Initial weights.

    Raises:
        ConfigError: If there are fewer patients than folds.
        StorageError: If the dataset's slices cannot be read.
    """
    outcome_digest = _outcome_digest(request, dataset, first)
    n_folds = request.training.folds
    splits = ("train", "val") if n_folds == 1 else SPLITS
    store = load_slices(request.dataset_uri, *splits, rule=request.model.intensity_rule)
    whole = TrainingRun(
        name="",
        model=request.model,
        training=request.training,
        augment=request.augment,
        store=store,
        train=store.index.filter(pc.field("split") == "train"),
        val=store.index.filter(pc.field("split") == "val"),
        encoder_weights=ray.put(first.encoder),
        first_weights=ray.put(first.network),
        checkpoints=Checkpoints.of(request.model_uri, outcome_digest),
    )
    if n_folds == 1:
        return _with_outputs([Fold(whole, ())], request, first)
    fold_of = fold_patients(_source_of(store.index), n_folds=n_folds, seed=request.training.seed)
    folds = []
    for index in range(n_folds):
        held_out = tuple(sorted(patient for patient, fold in fold_of.items() if fold == index))
        is_held_out = pc.is_in(store.index.column("patient_id"), value_set=pa.array(held_out))
        run = replace(
            whole,
            name=f"fold {index + 1} of {n_folds}, ",
            train=store.index.filter(pc.invert(is_held_out)),
            val=store.index.filter(is_held_out),
            checkpoints=Checkpoints.of(request.model_uri, digest(of=outcome_digest, fold=index)),
            keeps_last=True,
        )
        folds.append(Fold(run, held_out))
    return _with_outputs(folds, request, first)


def _with_outputs(folds: list[Fold], request: TrainRequest, first: FirstWeights) -> list[Fold]:
    """Return the folds with their networks' outputs: the lung, if each of them is trained on lung masks."""
    n_lung_masks = min(pc.sum(fold.run.train.column("has_lung")).as_py() or 0 for fold in folds)
    parent = first.parent.card if first.parent else None
    outputs = outputs_of(request.training, n_lung_masks, parent=parent)
    return [replace(fold, run=replace(fold.run, outputs=outputs)) for fold in folds]


def _outcome_digest(request: TrainRequest, dataset: DatasetCard, first: FirstWeights) -> str:
    """Return the digest of all that decides the outcome of a training; it must match to continue from checkpoints."""
    return digest(
        dataset=dataset.fingerprint,
        model=request.model.model_dump(mode="json"),
        training=request.training.model_dump(mode="json", exclude=NOT_DECISIVE),
        augment=request.augment.model_dump(mode="json"),
        parent=first.parent.card.digest if first.parent else None,
        code=code_version(),
    )


def _source_of(index: pa.Table) -> dict[str, str]:
    return dict(zip(index.column("patient_id").to_pylist(), index.column("source").to_pylist(), strict=True))
