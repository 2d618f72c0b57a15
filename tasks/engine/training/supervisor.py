"""A training that outlives its workers: Ray Train over a planned stream, started again from the last epoch."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

import pyarrow as pa
import ray
import ray.data
from ray.actor import ActorClass, ActorProxy
from ray.train import DataConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tasks.core.config.learning import AugmentConfig, ModelConfig, TrainingConfig
from tasks.core.errors import ClusterError
from tasks.core.history import EpochRow
from tasks.core.plural import counted
from tasks.engine.cluster.capacity import NoRoomError, n_at_once, needs_of_one, wait_for_workers
from tasks.engine.cluster.failures import can_pass, reason
from tasks.engine.training.slice_store import SliceStore, plan_training, training_stream, validation_stream
from tasks.io import storage
from tasks.io.checkpoints import Checkpoint, Checkpoints
from tasks.io.lease import OutputLock

logger = logging.getLogger(__name__)

POLL_S: Final = 2.0
NODE_IS_DEAD_AFTER_S: Final = 10.0
"""Most lost nodes are known to be lost by then; one that is not costs another restart."""
MAX_FAILED_STARTS: Final = 3
"""Of a group of workers, each of which has a minute to start; Ray Train would try for ever."""


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


def train_all(jobs: Sequence[TrainingRun], held: OutputLock) -> None:
    """Do trainings, as many at once as the cluster holds, each in the order given; log each epoch when it ends.

    Raises:
        LockedError: If another run has taken the bundle.
        LesionWorkflowError: What a worker found wrong.
        ClusterError: If the workers of one died too often; what the others reached is kept.
    """
    waiting = list(jobs)
    running: dict[ray.ObjectRef[None], _Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < n_at_once(waiting[0].training):
                job = waiting.pop(0)
                # Ray Train's TensorFlow module loads TensorFlow, so a worker drives it, not the flow's process.
                # Both stay with the driver: a node that is lost takes workers only.
                here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
                # a cast, because mypy leaves the decorator of a class out
                journal = cast("ActorClass[Journal]", Journal).options(scheduling_strategy=here).remote()
                running[fit.options(scheduling_strategy=here).remote(job, journal)] = _Running(job, journal)
            ended, _ = ray.wait(list(running), timeout=POLL_S)
            held.check()
            for one in running.values():
                one.narrate()
            for reference in ended:
                one = running.pop(reference)
                try:
                    ray.get(reference)
                except NoRoomError:
                    if not running:
                        raise
                    logger.warning("train: %sno room beside the others, goes on after one of them", one.job.name)
                    waiting.append(one.job)
    finally:
        for reference in running:
            ray.cancel(reference)


@dataclass(slots=True)
class _Running:
    """A training on its way, and how much of its journal was read."""

    job: TrainingRun
    journal: "ActorProxy[Journal]"
    n_seen: int = 0

    def narrate(self) -> None:
        """Log what is new."""
        for line in ray.get(self.journal.after.remote(self.n_seen)):
            self.n_seen += 1
            if isinstance(line, str):
                logger.warning("train: %s%s", self.job.name, line)
            else:
                logger.info("train: %s%s", self.job.name, _sentence(line, self.job.training.epochs))


def _sentence(row: EpochRow, n_epochs: int) -> str:
    val_dice = row["val_dice_per_patient"]
    return (
        f"epoch {row['epoch']} of {n_epochs}, loss {row['train_loss']:.3f}, validation loss {row['val_loss']:.3f}, "
        f"validation Dice {'undefined' if val_dice is None else f'{val_dice:.3f}'}, {row['seconds']:.0f} s, "
        f"{row['slices_per_second']:.1f} slices/s, {row['stall_fraction']:.0%} of it waiting for them"
    )


@ray.remote(num_cpus=0)
class Journal:
    """Where workers write epochs down, and the driver reads them while the training goes on."""

    def __init__(self) -> None:
        self._lines: list[EpochRow | str] = []

    @ray.method
    def append(self, line: EpochRow | str) -> None:
        """Add an epoch, or a sentence on what happened between two."""
        self._lines.append(line)

    @ray.method
    def after(self, n_seen: int) -> list[EpochRow | str]:
        """Return what lies beyond the first `n_seen`."""
        return self._lines[n_seen:]


@ray.remote(num_cpus=0, max_retries=0)
def fit(job: TrainingRun, journal: "ActorProxy[Journal]") -> None:
    """Train to the end, from the last checkpoint if there is one; what comes of it are the checkpoints.

    Args:
        job: What is to be done.
        journal: Told of each epoch, and of what happens between two.

    Raises:
        LesionWorkflowError: What a worker found wrong.
        NoRoomError: If the cluster has no room for them.
        ClusterError: If the workers died more than `max_restarts` times.
    """
    has_begun = False
    for n_left in range(job.training.max_restarts, -1, -1):
        checkpoint = job.checkpoints.latest()
        if checkpoint is not None and checkpoint.is_over:
            return
        n_workers = wait_for_workers(
            job.training,
            fewest=1 if has_begun or checkpoint else job.training.num_workers,
            tell=journal.append.remote,
        )
        has_begun = True
        if checkpoint is not None:
            journal.append.remote(f"going on after epoch {checkpoint.n_epochs} with {counted(n_workers, 'worker')}")
        try:
            _run(job, checkpoint, n_workers=n_workers, journal=journal)
        except TrainingFailedError as err:
            if not can_pass(err):
                raise
            if n_left == 0:
                raise ClusterError(
                    f"The training lost its workers {job.training.max_restarts + 1} times, at last by {reason(err)}. "
                    "Its last finished epoch is kept; run it again to go on from there."
                ) from err
            journal.append.remote(f"lost workers ({reason(err)}), {counted(n_left, 'restart')} left")
            time.sleep(NODE_IS_DEAD_AFTER_S)
        else:
            return


def _run(job: TrainingRun, checkpoint: Checkpoint | None, *, n_workers: int, journal: "ActorProxy[Journal]") -> None:
    """Run Ray Train over the epochs that are left."""
    from ray.train.tensorflow import TensorflowTrainer

    training = job.training
    plan = plan_training(
        job.train,
        epochs=range(checkpoint.n_epochs if checkpoint else 0, training.epochs),
        batch_size=training.batch_size,
        lesion_free_fraction=training.lesion_free_fraction,
        seed=training.seed,
    )
    shares: dict[str, ray.data.Dataset] = {
        f"train-{rank}": training_stream(
            job.store,
            plan,
            batch_size=training.batch_size,
            rank=rank,
            num_workers=n_workers,
            augment=job.augment,
            seed=training.seed,
        )
        for rank in range(n_workers)
    }
    filesystem, path = storage.arrow_filesystem(storage.join(job.checkpoints.folder, "ray-train"))
    TensorflowTrainer(
        _train_loop,
        train_loop_config={
            "model": job.model,
            "training": training,
            "steps_per_epoch": plan.steps_per_epoch,
            "encoder_weights": job.encoder_weights,
            "first_weights": job.first_weights,
            "checkpoints": job.checkpoints,
            "checkpoint": ray.put(checkpoint),
            "keeps_last": job.keeps_last,
            "journal": journal,
        },
        scaling_config=ScalingConfig(
            num_workers=n_workers, use_gpu=training.gpus_per_worker > 0, resources_per_worker=needs_of_one(training)
        ),
        run_config=RunConfig(
            name=f"training-{datetime.now(UTC):%Y%m%dT%H%M%S}",
            storage_path=path,
            storage_filesystem=filesystem,
            # Restarts are planned anew here. Ray's types are those of Ray Train V1, which is not what runs.
            failure_config=FailureConfig(  # type: ignore[call-arg]
                max_failures=0, max_preemption_failures=0, controller_failure_limit=MAX_FAILED_STARTS
            ),
        ),
        datasets={**shares, "val": validation_stream(job.store, job.val)},
        # Each worker reads its own stream whole: the plan has already shared out every global batch.
        dataset_config=DataConfig(datasets_to_split=[], execution_options=_in_order()),
    ).fit()


def _train_loop(config: dict[str, Any]) -> None:  # Any: Ray Train's own type
    from tasks.engine.training.worker import WorkerSettings, train_worker  # loads TensorFlow, here in the worker

    fetched = {name: ray.get(config[name]) for name in ("encoder_weights", "first_weights", "checkpoint")}
    train_worker(WorkerSettings(**config | fetched))


def _in_order() -> ray.data.ExecutionOptions:
    options = DataConfig.default_ingest_options()
    options.preserve_order = True
    return options
