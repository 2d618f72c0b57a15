"""Train a bundle: a fit that outlives its workers, then the operating point, the self-test and the card."""

import json
import logging
import uuid
from datetime import UTC, datetime

import numpy as np
import pyarrow.compute as pc
import ray
from ray.actor import ActorHandle

from tasks.core.errors import ConfigError, ModelError
from tasks.core.figures import training_curves
from tasks.core.history import EpochRow, TrainingOutcome
from tasks.core.operating_point import OperatingPoint, choose_threshold
from tasks.core.phantoms import phantom_scan
from tasks.core.records import WEIGHTS_FILE, DatasetCard, ModelCard
from tasks.core.refs import ModelRef
from tasks.core.requests import TrainRequest
from tasks.core.wording import counted
from tasks.engine.fitting import POLL_S, Fit, Journal, fit
from tasks.engine.slices import load_slices
from tasks.io import bundles, checkpoints, datasets, encoders, lease, storage
from tasks.io.checkpoints import Checkpoints
from tasks.io.versions import code_version, library_versions

logger = logging.getLogger(__name__)

NOT_DECISIVE = {"num_workers", "gpus_per_worker", "max_restarts", "stall_minutes"}
"""Fields of the training that may change between a run and the one that goes on from its checkpoints."""


def train(request: TrainRequest) -> ModelRef:
    """Train, choose the operating point on the validation patients, and publish the bundle.

    A run that was killed is asked again: it goes on after its last finished epoch.

    Raises:
        ConfigError: If the batch cannot be shared evenly, or no dataset is there.
        LockedError: If a live run trains for the same bundle.
        ModelError: If weights cannot be had or used.
        ClusterError: If Ray lost the workers more often than they may be started again.
    """
    _check(request)
    dataset = datasets.read_card(request.dataset_uri)
    encoder_weights = encoders.read_encoder_weights(request.model)
    first_weights = _first_weights(request)
    with lease.held(request.model_uri, f"train-{uuid.uuid4().hex[:12]}") as held:
        own = Checkpoints.of(request.model_uri, _decisive(request, dataset))
        store = load_slices(request.dataset_uri, "train", "val")
        job = Fit(
            model=request.model,
            training=request.training,
            augment=request.augment,
            store=store,
            train=store.index.filter(pc.field("split") == "train"),
            val=store.index.filter(pc.field("split") == "val"),
            encoder_weights=ray.put(encoder_weights),
            first_weights=ray.put(first_weights),
            checkpoints=own,
        )
        # Ray Train's TensorFlow module loads TensorFlow, so it is driven from a worker, not from the flow's process.
        journal = Journal.remote()
        fitting = fit.remote(job, journal)
        try:
            _narrate(fitting, journal, held, n_epochs=request.training.epochs)
            ray.get(fitting)
        finally:
            ray.cancel(fitting)  # nothing happens where it has ended
        checkpoint = own.latest()
        if checkpoint is None:
            raise ModelError(f"The training ended, but {own.folder} holds no epoch; was it emptied? Train again.")
        point = choose_threshold(list(checkpoint.outcome.histograms.values()))
        card = _draft_card(request, dataset, checkpoint.outcome, point)
        held.check()
        return _publish(request, card, checkpoint.outcome, own.best_weights(checkpoint))


def _check(request: TrainRequest) -> None:
    training = request.training
    n_shares = training.num_workers * max(1, training.gpus_per_worker)
    if training.batch_size % n_shares:
        raise ConfigError(
            f"batch_size is {training.batch_size}, the global batch; it must be a multiple of num_workers "
            f"{training.num_workers} times the devices of each, {n_shares} in all."
        )
    if training.freeze_batchnorm and request.model.encoder_weights == "none" and request.model.start_from is None:
        raise ConfigError(
            "freeze_batchnorm keeps the averages a network starts with, and random weights have none. "
            "Set model.encoder_weights or model.start_from."
        )


def _first_weights(request: TrainRequest) -> bytes | None:
    """Return the weights of the bundle the training starts from, if it starts from one."""
    uri = request.model.start_from
    if uri is None:
        return None
    bundle = bundles.read_bundle(uri)
    found, asked = bundle.card, request.model
    if (found.architecture, found.backbone) != (asked.architecture, asked.backbone):
        raise ModelError(
            f"The bundle {uri} holds a {found.architecture} on {found.backbone}, a {asked.architecture} on "
            f"{asked.backbone} was asked for. Set model.architecture and model.backbone to the bundle's."
        )
    return bundle.weights


def _decisive(request: TrainRequest, dataset: DatasetCard) -> str:
    """Return all that decides the outcome of a training, as text."""
    parts = {
        "dataset": dataset.fingerprint,
        "model": request.model.model_dump(mode="json"),
        "training": request.training.model_dump(mode="json", exclude=NOT_DECISIVE),
        "augment": request.augment.model_dump(mode="json"),
        "code": code_version(),
    }
    return json.dumps(parts, sort_keys=True)


def _narrate(fitting: ray.ObjectRef, journal: ActorHandle, held: lease.Lease, *, n_epochs: int) -> None:
    """Log each epoch when it ends, until the training has."""
    n_seen, has_ended = 0, False
    while not has_ended:
        has_ended = bool(ray.wait([fitting], timeout=POLL_S)[0])
        held.check()
        for line in ray.get(journal.after.remote(n_seen)):
            n_seen += 1
            if isinstance(line, str):
                logger.warning("train: %s", line)
            else:
                logger.info("train: %s", _sentence(line, n_epochs))


def _sentence(row: EpochRow, n_epochs: int) -> str:
    val_dice = row["val_dice_per_patient"]
    return (
        f"epoch {row['epoch']} of {n_epochs}, loss {row['train_loss']:.3f}, validation loss {row['val_loss']:.3f}, "
        f"validation Dice {'undefined' if val_dice is None else f'{val_dice:.3f}'}, {row['seconds']:.0f} s, "
        f"{row['slices_per_second']:.1f} slices/s, {row['stall_fraction']:.0%} of it waiting for them"
    )


def _draft_card(
    request: TrainRequest, dataset: DatasetCard, outcome: TrainingOutcome, point: OperatingPoint
) -> ModelCard:
    fixed = request.training.threshold
    on = f"{counted(point.n_patients, 'validation patient')}, mean Dice {point.mean_dice or 0:.3f}"
    return ModelCard(
        architecture=request.model.architecture,
        backbone=request.model.backbone,
        input_size_px=dataset.size_px,
        intensity_rule=dataset.intensity_rule,
        hu=dataset.preparation.hu,
        threshold=fixed or point.threshold,
        threshold_choice="set by training.threshold" if fixed else f"best mean Dice of {on}, near ties towards 0.5",
        min_lesion_px=0,
        dataset_uri=request.dataset_uri,
        dataset_fingerprint=dataset.fingerprint,
        model=request.model,
        training=request.training,
        augment=request.augment,
        best_epoch=outcome.best_epoch,
        validation=outcome.best_validation,
        versions=library_versions(),
        code_version=code_version(),
        trained_at=datetime.now(UTC),
        files={},
        warnings=dataset.warnings,
    )


def _publish(request: TrainRequest, card: ModelCard, outcome: TrainingOutcome, weights: bytes) -> ModelRef:
    phantom = phantom_scan(0, n_slices=3, size_px=card.input_size_px).image[1]
    self_test = ray.get(_make_self_test.remote(card, weights, phantom))
    files = {
        WEIGHTS_FILE: weights,
        bundles.SELF_TEST_FILE: self_test.to_bytes(),
        bundles.HISTORY_FILE: outcome.to_csv(),
        **{f"curves/{name}.png": png for name, png in training_curves(outcome.history).items()},
    }
    card = card.model_copy(update={"files": bundles.publish_files(request.model_uri, files)})
    bundles.publish_card(request.model_uri, card)
    storage.remove_tree(storage.join(request.model_uri, checkpoints.FOLDER))
    return ModelRef(uri=request.model_uri, fingerprint=card.digest)


@ray.remote
def _make_self_test(card: ModelCard, weights: bytes, phantom: np.ndarray) -> bundles.SelfTest:
    from tasks.engine.prediction import make_self_test  # loads TensorFlow, here in the worker

    return make_self_test(card, weights, phantom)
