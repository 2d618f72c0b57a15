"""Settings and data of a training, for the driver and for workers."""

from dataclasses import dataclass

import pyarrow as pa
import ray
from ray.actor import ActorProxy

from tasks.core.catalog import Output
from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.engine.training.epoch_plan import n_epochs_of
from tasks.engine.training.journal import Journal
from tasks.engine.training.slice_store import SliceStore
from tasks.io.checkpoints import Checkpoint, Checkpoints


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Training of one network.

    Attributes:
        name: Prefix of its log lines.
        model: Network.
        training: Optimisation.
        augment: Random augmentation of training slices.
        store: Slice store.
        train: Rows of the store's index to train on.
        val: Rows to validate on.
        encoder_weights: Reference to an encoder's weight file, or to None.
        first_weights: Reference to a bundle's weight file, or to None.
        checkpoints: Its checkpoints.
        outputs: Outputs of the network.
        keeps_last: Whether the last epoch is kept instead of the best.
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
    outputs: tuple[Output, ...] = ("lesion",)
    keeps_last: bool = False

    @property
    def n_epochs(self) -> int:
        """Largest number of epochs."""
        return n_epochs_of(self.train, self.training)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of a worker; streams are passed by name through Ray Train.

    Attributes:
        model: Network.
        training: Optimisation.
        n_outputs: Number of the network's outputs.
        n_epochs: Largest number of epochs.
        steps_per_epoch: Global batches per epoch.
        encoder_weights: Content of an encoder's weight file.
        first_weights: Content of a bundle's weight file.
        checkpoints: Checkpoints to write.
        checkpoint: Checkpoint to continue from.
        keeps_last: Whether the last epoch is kept, because held-out patients must not choose the epoch.
        journal: Receives each finished epoch.
    """

    model: ModelConfig
    training: TrainingConfig
    n_outputs: int
    n_epochs: int
    steps_per_epoch: int
    encoder_weights: bytes | None
    first_weights: bytes | None
    checkpoints: Checkpoints
    checkpoint: Checkpoint | None
    keeps_last: bool
    journal: "ActorProxy[Journal]"
