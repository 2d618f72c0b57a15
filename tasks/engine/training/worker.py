"""Training worker: steps over its share of the stream, with validation and a checkpoint after each epoch."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import ray
import ray.train
import tensorflow as tf
from ray.actor import ActorProxy
from ray.train.collective import broadcast_from_rank_zero

from tasks.core.history import EpochRow, TrainingOutcome
from tasks.core.learning_rate import PLATEAU_FACTOR, Plateau, warmup_cosine
from tasks.core.metrics import Counts, dice
from tasks.core.operating_rules import mean_dice_at, penalised_mean_dice
from tasks.core.postprocess import probability_level
from tasks.engine.network.model import weights_to_bytes
from tasks.engine.network.precision import set_precision
from tasks.engine.training.epoch_sums import EpochSums, check_numbers, timed
from tasks.engine.training.journal import Journal, Moves, Position
from tasks.engine.training.trainer import Learner, choose_strategy
from tasks.engine.training.training_run import WorkerSettings
from tasks.engine.training.validation import (
    WATCH_THRESHOLD,
    Histograms,
    ValidationBatch,
    sample_masks,
    validate,
    validate_with_flips,
)
from tasks.engine.training.watchdog import PATIENCE, PATIENCE_WITH_FLIPS, Watchdog, end
from tasks.io.checkpoints import Checkpoint

REPORT_S = 5.0


def train_worker(settings: WorkerSettings) -> None:
    """Train until the stream ends or the validation Dice no longer improves; called by Ray Train on each worker.

    Its results are the checkpoints, which the first worker publishes.

    Raises:
        ModelError: If weights or precision cannot be used as asked, or the training diverges.
    """
    training = settings.training
    with Watchdog(60 * training.stall_minutes, partial(_end_stalled, settings.journal)) as watchdog:
        if not training.gpus_per_worker:
            tf.config.set_visible_devices([], "GPU")  # Ray shows a machine's GPUs to workers that asked for none, too
            # On a GPU the gradient of nearest-neighbour resizing, in every decoder, has no deterministic form and
            # would be refused at the first step.
            tf.config.experimental.enable_op_determinism()
        context = ray.train.get_context()
        rank, n_workers = context.get_world_rank(), context.get_world_size()
        settings = _with_precision(settings, is_chief=rank == 0)
        tf.keras.utils.set_random_seed(training.seed)
        with watchdog.patient():
            state = TrainingState(settings, n_workers, watchdog)
        stream = ray.train.get_dataset_shard(f"train-{rank}")
        sums, moves = EpochSums(), Moves(settings.journal)
        batches = stream.iter_batches(batch_size=training.batch_size // n_workers, prefetch_batches=2)
        for waited_s, batch in timed(batches):
            watchdog.beat()
            sums.waited_s += waited_s
            with watchdog.patient() if not sums.n_steps else nullcontext():  # the first of all is compiled
                state.step(batch, sums)
            is_full = sums.n_steps == settings.steps_per_epoch
            if rank == 0:
                moves.move(Position(state.epoch, sums.n_steps, is_validating=is_full))
            if not is_full:
                continue
            with watchdog.patient():
                is_over = state.finish_epoch(sums, is_chief=rank == 0)
            if is_over:
                break
            sums = EpochSums()


def _with_precision(settings: WorkerSettings, *, is_chief: bool) -> WorkerSettings:
    """Set the floating-point type, and return the settings with it; the first worker says which it is."""
    chosen = set_precision(settings.training.precision)
    if is_chief:
        settings.journal.append.remote(chosen)
        if chosen.warning:
            settings.journal.append.remote(chosen.warning)
    return replace(settings, training=settings.training.model_copy(update={"precision": chosen.precision}))


class TrainingState:
    """State of a training: learner, outcome so far, and state of the learning rate."""

    def __init__(self, settings: WorkerSettings, n_workers: int, watchdog: Watchdog) -> None:
        self._settings, training, self._watchdog = settings, settings.training, watchdog
        self._learner = Learner(
            settings.model,
            training,
            choose_strategy(n_workers),
            n_workers=n_workers,
            n_outputs=settings.n_outputs,
            encoder_weights=settings.encoder_weights,
            first_weights=settings.first_weights,
        )
        self._outcome = TrainingOutcome()
        self._stopping, self._slowing = Plateau(training.patience), Plateau(max(1, training.patience // 2))
        self._plateau_rate = training.learning_rate
        if settings.checkpoint is not None:
            self._go_on(settings.checkpoint)
        self._n_steps = len(self._outcome.history) * settings.steps_per_epoch

    def _go_on(self, checkpoint: Checkpoint) -> None:
        self._outcome = checkpoint.outcome
        self._stopping, self._slowing = checkpoint.stopping, checkpoint.slowing
        self._plateau_rate = checkpoint.learning_rate
        self._learner.restore(checkpoint.weights, checkpoint.optimizer)

    @property
    def epoch(self) -> int:
        """Current epoch, from 1."""
        return len(self._outcome.history) + 1

    @property
    def _learning_rate(self) -> float:
        """Learning rate of the next step."""
        training, per_epoch = self._settings.training, self._settings.steps_per_epoch
        if training.schedule == "reduce_on_plateau":
            return self._plateau_rate
        n_steps = self._settings.n_epochs * per_epoch
        return warmup_cosine(self._n_steps, n_steps=n_steps, steps_per_epoch=per_epoch, peak=training.learning_rate)

    def step(self, batch: dict[str, np.ndarray], sums: EpochSums) -> None:
        """Run one optimizer step and add the batch to the sums of the epoch."""
        loss, weight, counts = self._learner.step(
            batch["image"], batch["labels"], batch["weight"], batch["has_lung"], learning_rate=self._learning_rate
        )
        sums.n_steps += 1
        sums.loss += loss
        sums.weight += weight
        sums.counts += Counts(*counts)
        self._n_steps += 1

    def finish_epoch(self, sums: EpochSums, *, is_chief: bool) -> bool:
        """Validate and publish the epoch, on the first worker, and return whether it was the last."""
        outcome = self._outcome
        self._learner.gather()
        row: EpochRow = {}
        histograms: Histograms = {}
        if is_chief:
            row, histograms = self._row(sums)
        row = broadcast_from_rank_zero(row)
        self._watchdog.beat()
        outcome.history.append(row)
        found, best = row["val_penalised_dice"], outcome.best_penalised_dice
        keeps_last = self._settings.keeps_last
        is_better = keeps_last or found is None or best is None or found > best
        if is_better:
            outcome.best_epoch, outcome.histograms = len(outcome.history), histograms
        if self._slowing.is_stuck_at(row["val_loss"] or 0.0):
            self._plateau_rate *= PLATEAU_FACTOR
        is_stuck = not keeps_last and found is not None and self._stopping.is_stuck_at(-found)
        is_over = is_stuck or len(outcome.history) == self._settings.n_epochs
        with self._watchdog.patient(PATIENCE_WITH_FLIPS if is_over else PATIENCE):
            if is_chief:
                self._publish(row, is_better=is_better, is_over=is_over)
            ray.train.report(row)  # a barrier: no worker starts the next epoch before this one is saved
        return is_over

    def _publish(self, row: EpochRow, *, is_better: bool, is_over: bool) -> None:
        """Publish a checkpoint, at the end of the training with the scores of flips.

        Raises:
            ModelError: If the training diverged.
        """
        checkpoint = self._checkpoint(is_over=is_over)  # taken before the best weights are loaded
        check_numbers(row, checkpoint.weights)
        best_weights = weights_to_bytes(self._learner.plain) if is_better else None
        if is_over:
            self._validate_best(best_weights)
        self._settings.checkpoints.publish(checkpoint, best_weights)
        self._settings.journal.append.remote(row)

    def _row(self, sums: EpochSums) -> tuple[EpochRow, Histograms]:
        """Return the history row of the epoch and the histogram of each validation patient."""
        trained_s = time.monotonic() - sums.started_s
        val_sums, lung, histograms = validate(self._learner, self._val_batches(), self._settings.training)
        patients, level = [*histograms.values()], probability_level(WATCH_THRESHOLD)
        return {
            "epoch": self.epoch,
            "learning_rate": self._learning_rate,
            **sums.figures("train"),
            **val_sums.figures("val"),
            "val_dice_per_patient": mean_dice_at(patients, level),
            "val_penalised_dice": penalised_mean_dice(patients, level),
            "val_lung_dice": dice(lung),
            **{f"train_{name}": n for name, n in asdict(sums.counts).items()},
            **{f"val_{name}": n for name, n in asdict(val_sums.counts).items()},
            "train_slices": int(sums.weight),
            "slices_per_second": round(sums.weight / trained_s, 2),
            "stall_fraction": round(sums.waited_s / trained_s, 4),
            "seconds": round(time.monotonic() - sums.started_s, 2),
        }, histograms

    def _validate_best(self, best_weights: bytes | None) -> None:
        """Validate the best epoch once more, at the end of the training: samples of its masks, and flips.

        Args:
            best_weights: Weights of the best epoch, if that is the last; else they are read from the checkpoints.
        """
        outcome, training = self._outcome, self._settings.training
        self._learner.load(best_weights or self._settings.checkpoints.best_weights(outcome.best_epoch))
        outcome.quality, outcome.small = sample_masks(self._learner, self._val_batches(), training)
        if training.test_time_flips is not False:  # up to four times the work
            outcome.flipped = validate_with_flips(self._learner, self._val_batches(), training)

    def _val_batches(self) -> Iterator[ValidationBatch]:
        """Yield the validation slices in batches padded to the batch size."""
        size = self._settings.training.batch_size
        for batch in ray.train.get_dataset_shard("val").iter_batches(batch_size=size, prefetch_batches=2):
            self._watchdog.beat()
            yield ValidationBatch.padded(batch, size)

    def _checkpoint(self, *, is_over: bool) -> Checkpoint:
        weights, optimizer = self._learner.state()
        return Checkpoint(
            outcome=self._outcome,
            is_over=is_over,
            weights=weights,
            optimizer=optimizer,
            stopping=self._stopping,
            slowing=self._slowing,
            learning_rate=self._plateau_rate,
        )


def _end_stalled(journal: "ActorProxy[Journal]", silent_s: float) -> None:
    """Write to the journal why this worker ends, then end it."""
    try:
        ray.get(journal.append.remote(f"a worker has not moved for {silent_s:.0f} s and ends"), timeout=REPORT_S)
    finally:
        end(silent_s)
