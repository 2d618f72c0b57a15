"""What a training is: its settings and data, for the driver and for each worker."""

from dataclasses import dataclass

import pyarrow as pa
import ray
from ray.actor import ActorProxy

from tasks.core.config.learning import AugmentConfig, ModelConfig, TrainingConfig
from tasks.engine.training.journal import Journal
from tasks.engine.training.slice_store import SliceStore
from tasks.io.checkpoints import Checkpoint, Checkpoints


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A training to be done.

    Attributes:
        name: How log lines about it begin.
        model: Network.
        training: Optimisation.
        augment: Random changes to training slices.
        store: The slices.
        train: Rows of the store's index to train on.
        val: Rows to validate on.
        encoder_weights: Reference to an encoder's weight file, or to None.
        first_weights: Reference to a bundle's weight file, or to None.
        checkpoints: Where it stands.
        keeps_last: Whether the last epoch is kept, not the best.
    """

    name: str
    model: ModelConfig
    training: TrainingConfig
    augment: AugmentConfig
    store: SliceStore
    train: pa.Table
    val: pa.Table
    encoder_weights: "ray.ObjectRef[bytes | None]"
    first_weights: "ray.ObjectRef[bytes | None]"
    checkpoints: Checkpoints
    keeps_last: bool = False


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker needs to know; the streams come by name through Ray Train.

    Attributes:
        model: Network.
        training: Optimisation.
        steps_per_epoch: Global batches per epoch.
        encoder_weights: Content of an encoder's weight file.
        first_weights: Content of a bundle's weight file.
        checkpoints: Where what comes of it is put.
        checkpoint: What to go on from.
        keeps_last: Whether the last epoch is kept: the validation patients will judge it, so must not choose it.
        journal: Gets each finished epoch.
    """

    model: ModelConfig
    training: TrainingConfig
    steps_per_epoch: int
    encoder_weights: bytes | None
    first_weights: bytes | None
    checkpoints: Checkpoints
    checkpoint: Checkpoint | None
    keeps_last: bool
    journal: "ActorProxy[Journal]"
