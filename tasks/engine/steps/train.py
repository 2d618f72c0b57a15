"""Train a bundle: a fit that outlives its workers, then the operating point, the self-test and the card."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import ray

from tasks.core.addresses import shown_uri
from tasks.core.errors import ModelError
from tasks.core.figures import training_curves
from tasks.core.handles import ModelHandle
from tasks.core.history import TrainingOutcome
from tasks.core.operating_point import OperatingPoint
from tasks.core.phantoms import phantom_scan
from tasks.core.plural import counted
from tasks.core.schemas import DatasetCard, EnsembleMember, ModelCard
from tasks.core.step_inputs import TrainRequest
from tasks.engine.training.folds import folds_of, members_of
from tasks.engine.training.supervisor import train_all
from tasks.io import checkpoints, lease, pretrained_weights, storage
from tasks.io.outputs import bundles, datasets
from tasks.io.outputs.ownership import claim
from tasks.io.versions import code_version, library_versions

NOT_DECISIVE = {"num_workers", "gpus_per_worker", "max_restarts", "node_wait_minutes", "stall_minutes"}
"""Fields of the training that may change between a run and the one that goes on from its checkpoints."""


def train(request: TrainRequest) -> ModelHandle:
    """Train, choose the operating point on the validation patients, and publish the bundle.

    A run that was killed is asked again: it goes on after its last finished epoch.

    Raises:
        ConfigError: If no dataset is there, or it holds fewer patients than folds.
        LockedError: If a live run trains for the same bundle.
        ModelError: If weights cannot be had or used.
        ClusterError: If Ray lost the workers more often than they may be started again.
    """
    dataset = datasets.read_card(request.dataset_uri)
    parent = _parent(request)
    encoder_weights = None if parent else pretrained_weights.read_encoder_weights(request.model)
    claim(request.model_uri, "bundle")
    with lease.held(request.model_uri, f"train-{uuid.uuid4().hex[:12]}") as held:
        first_weights = parent.weights[0] if parent else None
        folds = folds_of(
            request,
            _decisive(request, dataset, parent=parent),
            encoder_weights=encoder_weights,
            first_weights=first_weights,
        )
        train_all([fold.run for fold in folds], held)
        outcomes, weights = [], []
        for fold in folds:
            checkpoint = fold.run.checkpoints.latest()
            if checkpoint is None:
                raise ModelError(
                    f"Training ended, but {shown_uri(fold.run.checkpoints.folder)} holds no epoch. Train again."
                )
            outcomes.append(checkpoint.outcome)
            weights.append(fold.run.checkpoints.best_weights(checkpoint.outcome.best_epoch))
        held.check()
        together = outcomes[0]
        members: tuple[EnsembleMember, ...] = ()
        if len(folds) > 1:
            together = TrainingOutcome.of_folds(outcomes)
            members = members_of(folds, outcomes, request.training)
        card = _draft_card(request, dataset, parent=parent, outcome=together).model_copy(update={"members": members})
        return _publish(request, card, together, outcomes=outcomes, weights=weights)


def _parent(request: TrainRequest) -> bundles.Bundle | None:
    """Return the bundle whose weights the training starts from, if it starts from one."""
    uri = request.model.start_from
    if uri is None:
        return None
    bundle = bundles.read_bundle(uri)
    found, asked = bundle.card, request.model
    if found.members:
        raise ModelError(f"The bundle {shown_uri(uri)} is an ensemble of {len(found.members)}; start from one network.")
    if (found.architecture, found.backbone) != (asked.architecture, asked.backbone):
        raise ModelError(
            f"The bundle {shown_uri(uri)} holds a {found.architecture} on {found.backbone}, a {asked.architecture} on "
            f"{asked.backbone} was asked for. Set model.architecture and model.backbone to the bundle's."
        )
    return bundle


def _decisive(request: TrainRequest, dataset: DatasetCard, *, parent: bundles.Bundle | None) -> str:
    """Return all that decides the outcome of a training, as text."""
    parts = {
        "dataset": dataset.fingerprint,
        "model": request.model.model_dump(mode="json"),
        "training": request.training.model_dump(mode="json", exclude=NOT_DECISIVE),
        "augment": request.augment.model_dump(mode="json"),
        "parent": parent.card.digest if parent else None,
        "code": code_version(),
    }
    return json.dumps(parts, sort_keys=True)


def _draft_card(
    request: TrainRequest, dataset: DatasetCard, *, parent: bundles.Bundle | None, outcome: TrainingOutcome
) -> ModelCard:
    point = outcome.operating_point(request.training)
    return ModelCard(
        architecture=request.model.architecture,
        backbone=request.model.backbone,
        input_size_px=dataset.size_px,
        intensity_rule=dataset.intensity_rule,
        hu=dataset.preparation.hu,
        threshold=point.threshold,
        threshold_choice=_choice(request, point),
        min_lesion_px=0,
        slice_statistics=request.model.slice_statistics,
        test_time_flips=point.flips,
        dataset_uri=shown_uri(request.dataset_uri),
        dataset_fingerprint=dataset.fingerprint,
        model=request.model,
        training=request.training,
        augment=request.augment,
        parent_digest=parent.card.digest if parent else None,
        best_epoch=outcome.best_epoch,
        validation=outcome.best_validation,
        versions=library_versions(),
        code_version=code_version(),
        trained_at=datetime.now(UTC),
        files={},
        warnings=tuple(dict.fromkeys((*dataset.warnings, *_warnings(dataset, parent, point)))),
    )


def _choice(request: TrainRequest, point: OperatingPoint) -> str:
    """Return how the operating point came about, for people."""
    kind = "held-out patient" if request.training.folds > 1 else "validation patient"
    is_set = request.training.threshold is not None
    if point.mean_dice is None:
        return f"{'set by training.threshold' if is_set else 'the middle'}, for no {kind} has lesions to judge it by"
    on = f"{counted(point.n_patients, kind)}, mean Dice {point.mean_dice:.3f}"
    threshold = f"set by training.threshold; on {on}" if is_set else f"best mean Dice of {on}, near ties towards 0.5"
    if point.dice_otherwise is None:
        return threshold
    with_or_without, otherwise = ("with", "without") if point.flips else ("without", "with")
    return f"{threshold}; {with_or_without} flips ({otherwise} them {point.dice_otherwise:.3f})"


def _warnings(dataset: DatasetCard, parent: bundles.Bundle | None, point: OperatingPoint) -> list[str]:
    """Say what figures of this bundle cannot be relied on for."""
    warnings = [f"the bundle it started from: {warning}" for warning in parent.card.warnings] if parent else []
    if parent and parent.card.dataset_fingerprint != dataset.fingerprint:
        warnings.append(
            "started from a bundle of another dataset, which may have seen patients that are new to this one's training"
        )
    if point.mean_dice is None:
        warnings.append("no validation patient has lesions: epoch, threshold and flips were chosen without looking")
    return warnings


def _publish(
    request: TrainRequest,
    card: ModelCard,
    together: TrainingOutcome,
    *,
    outcomes: Sequence[TrainingOutcome],
    weights: Sequence[bytes],
) -> ModelHandle:
    """Publish weights, self-tests, history and curves, then the card; the checkpoints are of no use any more."""
    phantom = phantom_scan(0, n_slices=3, size_px=card.input_size_px).image[1]
    files = dict(zip(card.weights_files, weights, strict=True))
    tests = {bundles.SELF_TEST_FILE: _make_self_test.remote(card, weights, phantom)}
    for place, member in enumerate(card.members):
        tests[member.self_test_file] = _make_self_test.remote(card.alone(place), (weights[place],), phantom)
        files[member.history_file] = outcomes[place].to_csv()
    files |= {path: self_test.to_bytes() for path, self_test in zip(tests, ray.get([*tests.values()]), strict=True)}
    files |= {bundles.HISTORY_FILE: together.to_csv()}
    files |= {f"{bundles.CURVES_FOLDER}/{name}.png": png for name, png in training_curves(together.history).items()}
    card = card.model_copy(update={"files": bundles.publish_files(request.model_uri, files)})
    bundles.publish_card(request.model_uri, card)
    bundles.sweep(request.model_uri, card)
    storage.remove_tree(storage.join(request.model_uri, checkpoints.FOLDER))
    return ModelHandle(uri=request.model_uri, fingerprint=card.digest)


@ray.remote
def _make_self_test(card: ModelCard, weights: Sequence[bytes], phantom: np.ndarray) -> bundles.SelfTest:
    from tasks.engine.inference.predictor import make_self_test  # loads TensorFlow, here in the worker

    return make_self_test(card, weights, phantom)
