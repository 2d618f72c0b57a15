"""Cross-validation: a network a fold, each patient held out of one of them, and together an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import ray

from tasks.core.catalog import SPLITS
from tasks.core.config.learning import TrainingConfig
from tasks.core.history import TrainingOutcome
from tasks.core.schemas import EnsembleMember
from tasks.core.splits import fold_patients
from tasks.core.step_inputs import TrainRequest
from tasks.engine.training.slice_loading import load_slices
from tasks.engine.training.training_run import TrainingRun
from tasks.io.checkpoints import Checkpoints
from tasks.io.outputs.bundles import FOLDS_FOLDER


@dataclass(frozen=True, slots=True)
class Fold:
    """A training, and whom it holds out; without cross-validation there is one, which holds nobody out.

    Attributes:
        run: What is to be done.
        held_out: Patients it never sees.
    """

    run: TrainingRun
    held_out: tuple[str, ...]


def folds_of(
    request: TrainRequest, asked: str, *, encoder_weights: bytes | None, first_weights: bytes | None
) -> list[Fold]:
    """Return the trainings that were asked for, their slices in the object store.

    Args:
        request: What was asked.
        asked: All that decides the outcome, as text.
        encoder_weights: Content of an encoder's weight file.
        first_weights: Content of a bundle's weight file.

    Raises:
        ConfigError: If there are fewer patients than folds.
        StorageError: If the dataset's slices cannot be read.
    """
    n_folds = request.training.folds
    store = load_slices(request.dataset_uri, *(("train", "val") if n_folds == 1 else SPLITS))
    whole = TrainingRun(
        name="",
        model=request.model,
        training=request.training,
        augment=request.augment,
        store=store,
        train=store.index.filter(pc.field("split") == "train"),
        val=store.index.filter(pc.field("split") == "val"),
        encoder_weights=ray.put(encoder_weights),
        first_weights=ray.put(first_weights),
        checkpoints=Checkpoints.of(request.model_uri, asked),
    )
    if n_folds == 1:
        return [Fold(whole, ())]
    fold_of = fold_patients(_source_of(store.index), n_folds=n_folds, seed=request.training.seed)
    folds = []
    for place in range(n_folds):
        held_out = tuple(sorted(patient for patient, fold in fold_of.items() if fold == place))
        is_held_out = pc.is_in(store.index.column("patient_id"), value_set=pa.array(held_out))
        run = replace(
            whole,
            name=f"fold {place + 1} of {n_folds}, ",
            train=store.index.filter(pc.invert(is_held_out)),
            val=store.index.filter(is_held_out),
            checkpoints=Checkpoints.of(request.model_uri, f"{asked} fold {place}"),
            keeps_last=True,
        )
        folds.append(Fold(run, held_out))
    return folds


def members_of(
    folds: Sequence[Fold], outcomes: Sequence[TrainingOutcome], asked: TrainingConfig
) -> tuple[EnsembleMember, ...]:
    """Return the ensemble's networks, each with the operating point for those it never saw.

    That is the best for the patients of all other folds, so that nobody helps to choose what he is scored at.

    Args:
        folds: The trainings.
        outcomes: What came of each; the histograms are those of the patients held out.
        asked: What is set for all, and what may be chosen.
    """
    members = []
    for place, fold in enumerate(folds):
        others = TrainingOutcome.of_folds([other for other in outcomes if other is not outcomes[place]])
        point = others.operating_point(asked)
        folder = f"{FOLDS_FOLDER}/{place}"
        member = EnsembleMember(
            weights_file=f"{folder}/model.weights.h5",
            self_test_file=f"{folder}/self_test.npz",
            history_file=f"{folder}/history.csv",
            held_out=fold.held_out,
            threshold=point.threshold,
            test_time_flips=point.flips,
        )
        members.append(member)
    return tuple(members)


def _source_of(index: pa.Table) -> dict[str, str]:
    return dict(zip(index.column("patient_id").to_pylist(), index.column("source").to_pylist(), strict=True))
