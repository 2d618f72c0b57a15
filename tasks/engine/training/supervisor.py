"""Supervisor of trainings: runs Ray Train and restarts it from the last checkpoint when workers die."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

import ray
import ray.data
from ray.actor import ActorClass, ActorProxy
from ray.train import DataConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tasks.core.errors import ClusterError
from tasks.core.history import EpochRow
from tasks.core.plural import counted
from tasks.core.precision import ChosenPrecision
from tasks.core.throughput import ReportProgress
from tasks.engine.cluster.capacity import NoCapacityError, n_at_once, needs_of_one, wait_for_workers
from tasks.engine.cluster.failures import can_pass, reason
from tasks.engine.training.epoch_plan import plan_training
from tasks.engine.training.journal import Journal, Position
from tasks.engine.training.slice_store import training_stream, validation_stream
from tasks.engine.training.training_progress import TrainingProgress
from tasks.engine.training.training_run import TrainingRun, WorkerSettings
from tasks.io import storage
from tasks.io.checkpoints import Checkpoint
from tasks.io.output_lock import OutputLock

logger = logging.getLogger(__name__)

POLL_S: Final = 2.0
NODE_IS_DEAD_AFTER_S: Final = 10.0
"""Seconds after which Ray has noticed most lost nodes; others cost another restart."""
MAX_FAILED_STARTS: Final = 3
"""Number of failed starts of a group of workers, of a minute each; Ray Train would retry for ever."""


def train_all(runs: Sequence[TrainingRun], held: OutputLock, report_progress: ReportProgress) -> None:
    """Run trainings in the given order, as many at once as fit the cluster, and log each epoch.

    Args:
        runs: The trainings.
        held: Lock of the output.
        report_progress: Called with the progress over all trainings.

    Raises:
        LockedError: If another run has taken the output lock.
        LesionWorkflowError: An error of a worker.
        ClusterError: If the workers of a training died too often; checkpoints of the others are kept.
    """
    waiting, progress = list(runs), TrainingProgress(runs, report_progress)
    running: dict[ray.ObjectRef[None], _Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < n_at_once(waiting[0].training):
                run = waiting.pop(0)
                # Ray Train's TensorFlow module loads TensorFlow, so a worker drives it, not the flow's process.
                # Both stay with the driver: a node that is lost takes workers only.
                here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
                # a cast, because mypy leaves the decorator of a class out
                journal = cast("ActorClass[Journal]", Journal).options(scheduling_strategy=here).remote()
                running[fit.options(scheduling_strategy=here).remote(run, journal)] = _Running(run, journal)
            ended, _ = ray.wait(list(running), timeout=POLL_S)
            held.check()
            for one in running.values():
                one.log()
            progress.report({one.run.name: one.position() for one in running.values()})
            for reference in ended:
                one = running.pop(reference)
                try:
                    ray.get(reference)
                except NoCapacityError:
                    if not running:
                        raise
                    logger.warning("train: %sno capacity besides the others, continues after one of them", one.run.name)
                    waiting.append(one.run)
                else:
                    progress.end(one.run.name)
    finally:
        for reference in running:
            ray.cancel(reference)


@dataclass(slots=True)
class _Running:
    """Running training, and the number of journal entries read."""

    run: TrainingRun
    journal: "ActorProxy[Journal]"
    n_seen: int = 0

    def position(self) -> Position | None:
        """Return where the training is; None before its first step."""
        return ray.get(self.journal.position.remote())

    def log(self) -> None:
        """Log the new entries of the journal."""
        for line in ray.get(self.journal.after.remote(self.n_seen)):
            self.n_seen += 1
            if isinstance(line, ChosenPrecision):
                logger.info("train: %s%s", self.run.name, line.reason)
            elif isinstance(line, str):
                logger.warning("train: %s%s", self.run.name, line)
            else:
                logger.info("train: %s%s", self.run.name, _sentence(line, self.run.n_epochs))


def _sentence(row: EpochRow, n_epochs: int) -> str:
    val_dice = row["val_dice_per_patient"]
    return (
        f"epoch {row['epoch']} of {n_epochs}, loss {row['train_loss']:.3f}, validation loss {row['val_loss']:.3f}, "
        f"validation Dice {'undefined' if val_dice is None else f'{val_dice:.3f}'}, {row['seconds']:.0f} s, "
        f"{row['slices_per_second']:.1f} slices/s, {row['stall_fraction']:.0%} of it waiting for slices"
    )


@ray.remote(num_cpus=0, max_retries=0)
def fit(run: TrainingRun, journal: "ActorProxy[Journal]") -> None:
    """Train to the end, from the last checkpoint if there is one; the results are the checkpoints.

    Args:
        run: The training.
        journal: Receives finished epochs and events.

    Raises:
        LesionWorkflowError: An error of a worker.
        NoCapacityError: If the cluster has no capacity for the workers.
        ClusterError: If the workers died more than `max_restarts` times.
    """
    has_begun = False
    for n_left in range(run.training.max_restarts, -1, -1):
        checkpoint = run.checkpoints.latest()
        if checkpoint is not None and checkpoint.is_over:
            return
        n_workers = wait_for_workers(
            run.training,
            fewest=1 if has_begun or checkpoint else run.training.num_workers,
            report=journal.append.remote,
        )
        has_begun = True
        if checkpoint is not None:
            journal.append.remote(f"going on after epoch {checkpoint.n_epochs} with {counted(n_workers, 'worker')}")
        try:
            _run_epochs(run, checkpoint, n_workers=n_workers, journal=journal)
        except TrainingFailedError as err:
            if not can_pass(err):
                raise
            if n_left == 0:
                raise ClusterError(
                    f"The training lost its workers {run.training.max_restarts + 1} times, at last by {reason(err)}. "
                    "Its last finished epoch is kept; run it again to continue from there."
                ) from err
            journal.append.remote(f"lost workers ({reason(err)}), {counted(n_left, 'restart')} left")
            time.sleep(NODE_IS_DEAD_AFTER_S)
        else:
            return


def _run_epochs(
    run: TrainingRun, checkpoint: Checkpoint | None, *, n_workers: int, journal: "ActorProxy[Journal]"
) -> None:
    """Run Ray Train over the remaining epochs."""
    from ray.train.tensorflow import TensorflowTrainer

    training = run.training
    plan = plan_training(
        run.train,
        epochs=range(checkpoint.n_epochs if checkpoint else 0, run.n_epochs),
        batch_size=training.batch_size,
        lesion_free_fraction=training.lesion_free_fraction,
        seed=training.seed,
    )
    shares: dict[str, ray.data.Dataset] = {
        f"train-{rank}": training_stream(
            run.store,
            plan,
            batch_size=training.batch_size,
            rank=rank,
            num_workers=n_workers,
            augment=run.augment,
            seed=training.seed,
        )
        for rank in range(n_workers)
    }
    filesystem, path = storage.arrow_filesystem(storage.join(run.checkpoints.folder, "ray-train"))
    TensorflowTrainer(
        _train_loop,
        train_loop_config={
            "model": run.model,
            "training": training,
            "n_outputs": len(run.outputs),
            "n_epochs": run.n_epochs,
            "steps_per_epoch": plan.steps_per_epoch,
            "encoder_weights": run.encoder_weights,
            "first_weights": run.first_weights,
            "checkpoints": run.checkpoints,
            "checkpoint": ray.put(checkpoint),
            "keeps_last": run.keeps_last,
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
        datasets={**shares, "val": validation_stream(run.store, run.val)},
        # Each worker reads its own stream whole: the plan has already shared out every global batch.
        dataset_config=DataConfig(datasets_to_split=[], execution_options=_in_order()),
    ).fit()


def _train_loop(config: dict[str, Any]) -> None:  # Any: Ray Train's own type
    from tasks.engine.training.worker import train_worker  # loads TensorFlow, here in the worker

    fetched = {name: ray.get(config[name]) for name in ("encoder_weights", "first_weights", "checkpoint")}
    train_worker(WorkerSettings(**config | fetched))


def _in_order() -> ray.data.ExecutionOptions:
    options = DataConfig.default_ingest_options()
    options.preserve_order = True
    return options
