"""Train a bundle: Ray Train over a planned stream of slices, then the operating point, the self-test and the card."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
from ray.actor import ActorHandle
from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig

from tasks.core.errors import ConfigError
from tasks.core.figures import training_curves
from tasks.core.history import EpochRow, TrainingOutcome
from tasks.core.operating_point import OperatingPoint, choose_threshold
from tasks.core.phantoms import phantom_scan
from tasks.core.records import WEIGHTS_FILE, DatasetCard, ModelCard
from tasks.core.refs import ModelRef
from tasks.core.requests import TrainRequest
from tasks.core.wording import counted
from tasks.engine.slices import Plan, SliceStore, load_split, plan_training, split_slices, training_stream
from tasks.io import bundles, datasets, encoders, storage
from tasks.io.versions import code_version, library_versions

logger = logging.getLogger(__name__)

CHECKPOINTS_FOLDER = "checkpoints"
POLL_S = 2.0


def train(request: TrainRequest) -> ModelRef:
    """Train, choose the operating point on the validation patients, and publish the bundle.

    Raises:
        ConfigError: If the batch cannot be shared evenly, or no dataset is there.
        ModelError: If encoder weights cannot be had or used.
        ClusterError: If Ray lost the workers.
    """
    training = request.training
    if training.batch_size % training.num_workers:
        raise ConfigError(
            f"batch_size is {training.batch_size}, the global batch; "
            f"it must be a multiple of num_workers, {training.num_workers}."
        )
    dataset = datasets.read_card(request.dataset_uri)
    encoder_weights = encoders.read_encoder_weights(request.model)
    # Ray Train's TensorFlow module loads TensorFlow, so it is driven from a worker, not from the flow's process.
    journal = EpochJournal.remote()
    fitting = _fit.remote(request, dataset, encoder_weights, journal)
    try:
        _narrate(fitting, journal, n_epochs=training.epochs)
        outcome, weights = ray.get(fitting)
    finally:
        ray.cancel(fitting)  # nothing happens where it has ended
    point = choose_threshold(list(outcome.histograms.values()))
    card = _draft_card(request, dataset, outcome, point)
    return _publish(request, card, outcome, weights)


@ray.remote(num_cpus=0)
class EpochJournal:
    """Where the first worker writes each epoch down, and the driver reads it while the training goes on."""

    def __init__(self) -> None:
        self._rows: list[EpochRow] = []

    def append(self, row: EpochRow) -> None:
        """Add an epoch."""
        self._rows.append(row)

    def after(self, n_seen: int) -> list[EpochRow]:
        """Return the epochs beyond the first `n_seen`."""
        return self._rows[n_seen:]


def _narrate(fitting: ray.ObjectRef, journal: ActorHandle, *, n_epochs: int) -> None:
    """Log each epoch when it ends, until the training has."""
    n_seen, has_ended = 0, False
    while not has_ended:
        has_ended = bool(ray.wait([fitting], timeout=POLL_S)[0])
        for row in ray.get(journal.after.remote(n_seen)):
            n_seen += 1
            logger.info(
                "train: epoch %d of %d, loss %.3f, validation loss %.3f, validation Dice %s, %.0f s",
                row["epoch"],
                n_epochs,
                row["train_loss"],
                row["val_loss"],
                "undefined" if row["val_dice_per_patient"] is None else f"{row['val_dice_per_patient']:.3f}",
                row["seconds"],
            )


@ray.remote(num_cpus=0, max_retries=0)
def _fit(
    request: TrainRequest, dataset: DatasetCard, encoder_weights: bytes | None, journal: ActorHandle
) -> tuple[TrainingOutcome, bytes]:
    """Run Ray Train; return the outcome of rank 0 and the best weights."""
    from ray.train.tensorflow import TensorflowTrainer

    training = request.training
    store = load_split(request.dataset_uri, "train")
    plan = plan_training(
        store.index,
        epochs=training.epochs,
        batch_size=training.batch_size,
        lesion_free_fraction=training.lesion_free_fraction,
        seed=training.seed,
    )
    filesystem, path = storage.arrow_filesystem(storage.join(request.model_uri, CHECKPOINTS_FOLDER))
    trainer = TensorflowTrainer(
        _train_loop,
        train_loop_config={
            "model": request.model,
            "training": training,
            "size_px": dataset.size_px,
            "steps_per_epoch": plan.steps_per_epoch,
            "encoder_weights": ray.put(encoder_weights),
            "journal": journal,
        },
        scaling_config=ScalingConfig(
            num_workers=training.num_workers,
            use_gpu=training.gpus_per_worker > 0,
            resources_per_worker={"CPU": 1, "GPU": training.gpus_per_worker}
            if training.gpus_per_worker
            else {"CPU": 1},
        ),
        run_config=RunConfig(
            name=f"training-{datetime.now(UTC):%Y%m%dT%H%M%S}",
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=0),
        ),
        datasets=_streams(request, store, plan),
        # Each worker reads its own stream whole: the plan has already shared out every global batch.
        dataset_config=DataConfig(datasets_to_split=[], execution_options=_in_order()),
    )
    result = trainer.fit()
    with result.checkpoint.as_directory() as folder:
        return result.return_value, Path(folder, WEIGHTS_FILE).read_bytes()


def _train_loop(config: dict[str, Any]) -> TrainingOutcome:  # Any: Ray Train's own type
    from tasks.engine.training import WorkerSettings, train_worker  # loads TensorFlow, here in the worker

    return train_worker(WorkerSettings(**config | {"encoder_weights": ray.get(config["encoder_weights"])}))


def _streams(request: TrainRequest, store: SliceStore, plan: Plan) -> dict[str, ray.data.Dataset]:
    training = request.training
    shares = {
        f"train-{rank}": training_stream(
            store,
            plan,
            batch_size=training.batch_size,
            rank=rank,
            num_workers=training.num_workers,
            augment=request.augment,
            seed=training.seed,
        )
        for rank in range(training.num_workers)
    }
    columns = ["image", "mask", "patient_id"]
    return shares | {"val": split_slices(request.dataset_uri, "val").select_columns(columns)}


def _in_order() -> ray.data.ExecutionOptions:
    options = DataConfig.default_ingest_options()
    options.preserve_order = True
    return options


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
    storage.remove_tree(storage.join(request.model_uri, CHECKPOINTS_FOLDER))
    return ModelRef(uri=request.model_uri, fingerprint=card.digest)


@ray.remote
def _make_self_test(card: ModelCard, weights: bytes, phantom: np.ndarray) -> bundles.SelfTest:
    from tasks.engine.prediction import make_self_test  # loads TensorFlow, here in the worker

    return make_self_test(card, weights, phantom)
