"""What one training worker does: steps over its share of the stream, validation after each epoch, best weights kept."""

import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import tensorflow as tf
from ray.actor import ActorHandle
from ray.train.collective import broadcast_from_rank_zero

from tasks.core.config import ModelConfig, TrainingConfig
from tasks.core.history import EpochRow, TrainingOutcome
from tasks.core.metrics import Counts, dice, mean_defined, score
from tasks.core.operating_point import ProbabilityHistogram, probability_histogram
from tasks.core.postprocess import probability_level
from tasks.core.records import WEIGHTS_FILE
from tasks.core.schedules import PLATEAU_FACTOR, Plateau, warmup_cosine
from tasks.engine.losses import LOSSES
from tasks.engine.model import build_model, set_precision, to_input, weights_to_bytes

WATCH_THRESHOLD = 0.5
"""At which the training curves and the best epoch are judged; the operating point is chosen afterwards."""

CURVE_METRICS = {"f1": "dice", "precision": "precision", "recall": "recall", "accuracy": "accuracy", "iou": "iou"}


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker needs to know; the streams come by name through Ray Train."""

    model: ModelConfig
    training: TrainingConfig
    size_px: int
    steps_per_epoch: int
    encoder_weights: bytes | None
    journal: ActorHandle


def train_worker(settings: WorkerSettings) -> TrainingOutcome:
    """Train until the stream ends or the validation Dice no longer improves; called by Ray Train on each worker.

    Returns:
        The outcome; meaningful on rank 0.

    Raises:
        ModelError: If encoder weights or precision cannot be used as asked.
    """
    training = settings.training
    set_precision(training.precision)
    tf.keras.utils.set_random_seed(training.seed)
    tf.config.experimental.enable_op_determinism()
    loop = _Loop(settings)
    context = ray.train.get_context()
    rank, n_workers = context.get_world_rank(), context.get_world_size()
    stream = ray.train.get_dataset_shard(f"train-{rank}")
    outcome, stopping, best = TrainingOutcome(), Plateau(training.patience), -1.0
    started, epoch_rows = time.monotonic(), _EpochSums()
    for batch in stream.iter_batches(batch_size=training.batch_size // n_workers, prefetch_batches=2):
        loop.step(batch, epoch_rows)
        if epoch_rows.n_steps < settings.steps_per_epoch:
            continue
        row, histograms = _finish_epoch(loop, epoch_rows, epoch=len(outcome.history) + 1, is_chief=rank == 0)
        row |= {"seconds": round(time.monotonic() - started, 2)}
        outcome.history.append(row)
        if rank == 0:
            settings.journal.append.remote(row)
        val_dice = float(row["val_dice_per_patient"] or 0.0)
        is_better = val_dice > best
        if is_better:
            best, outcome.best_epoch, outcome.histograms = val_dice, len(outcome.history), histograms
        _report(loop, row, is_better=is_better, is_chief=rank == 0)
        loop.adapt(float(row["val_loss"] or 0.0))
        if stopping.is_stuck_at(-val_dice):
            break
        started, epoch_rows = time.monotonic(), _EpochSums()
    return outcome


@dataclass(slots=True)
class _EpochSums:
    """Sums over an epoch's slices; padding weighs 0."""

    n_steps: int = 0
    weight: float = 0.0
    loss: float = 0.0
    counts: Counts = field(default_factory=Counts)

    def figures(self, prefix: str) -> EpochRow:
        """Return loss and ratios as columns of the history."""
        ratios = score(self.counts)
        named = {f"{prefix}_{name}": ratios[metric] for name, metric in CURVE_METRICS.items()}
        return {f"{prefix}_loss": self.loss / max(self.weight, 1.0), **named}


class _Loop:
    """The network, its optimizer and the compiled step of one worker."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._loss = LOSSES[settings.training.loss]
        self._strategy = _strategy()
        with self._strategy.scope():
            self.model = self._build()
            optimizer = tf.keras.optimizers.Adam(settings.training.learning_rate)
            if settings.training.precision == "float16":
                optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
            self.optimizer = optimizer
        # Validated and saved from here: reading a distributed network's BatchNorm averages outside a replica is a
        # collective that every worker must join, and the first worker alone would wait for ever.
        self.plain = self.model if settings.training.num_workers == 1 else self._build()
        self._n_steps = 0
        self._plateau = Plateau(max(1, settings.training.patience // 2))
        self._plateau_rate = settings.training.learning_rate
        self._compiled_step = tf.function(self._distributed_step, reduce_retracing=True)
        self._compiled_forward = tf.function(self._forward, reduce_retracing=True)

    def _build(self) -> tf.keras.Model:
        chosen = self._settings.model
        return build_model(chosen.architecture, chosen.backbone, encoder_weights=self._settings.encoder_weights)

    def gather(self) -> None:
        """Bring the workers' averaged weights into `plain`; all workers call it together."""
        if self.plain is not self.model:
            self.plain.set_weights(self.model.get_weights())

    @property
    def learning_rate(self) -> float:
        """Learning rate of the coming step."""
        if self._settings.training.schedule == "reduce_on_plateau":
            return self._plateau_rate
        per_epoch = self._settings.steps_per_epoch
        return warmup_cosine(
            self._n_steps,
            n_steps=self._settings.training.epochs * per_epoch,
            steps_per_epoch=per_epoch,
            peak=self._settings.training.learning_rate,
        )

    def adapt(self, val_loss: float) -> None:
        """Lower the learning rate where the validation loss is stuck; only `reduce_on_plateau` looks at it."""
        if self._plateau.is_stuck_at(val_loss):
            self._plateau_rate *= PLATEAU_FACTOR

    def step(self, batch: dict[str, np.ndarray], sums: _EpochSums) -> None:
        """Take one optimizer step and add the batch to the epoch's sums."""
        self.optimizer.learning_rate.assign(self.learning_rate)
        loss, weight, counts = self._compiled_step(
            tf.convert_to_tensor(batch["image"]),
            tf.convert_to_tensor(batch["mask"]),
            tf.convert_to_tensor(batch["weight"]),
        )
        sums.n_steps += 1
        sums.loss += float(loss)
        sums.weight += float(weight)
        sums.counts += Counts(*(int(n) for n in counts.numpy()))
        self._n_steps += 1

    def validate(self, stream: Any) -> tuple[_EpochSums, dict[str, ProbabilityHistogram]]:  # Any: ray.data.DataIterator
        """Return sums over the validation slices and the histogram of each patient."""
        sums, histograms = _EpochSums(), {}
        size = self._settings.training.batch_size
        for batch in stream.iter_batches(batch_size=size, prefetch_batches=2):
            images, masks = _padded(batch["image"], size), _padded(batch["mask"], size)
            losses, probability = (answer.numpy() for answer in self._compiled_forward(images, masks))
            for row, patient_id in enumerate(batch["patient_id"]):
                histogram = probability_histogram(probability[row], masks[row])
                histograms[patient_id] = histogram + histograms[patient_id] if patient_id in histograms else histogram
                sums.loss += float(losses[row])
                sums.weight += 1
        for histogram in histograms.values():
            sums.counts += histogram.counts_at(probability_level(WATCH_THRESHOLD))
        return sums, histograms

    def _distributed_step(self, images: tf.Tensor, masks: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        answers = self._strategy.run(self._local_step, args=(images, masks, weights))
        return tuple(self._strategy.reduce(tf.distribute.ReduceOp.SUM, answer, axis=None) for answer in answers)

    def _local_step(self, images: tf.Tensor, masks: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        reference = tf.cast(masks, tf.float32)[..., tf.newaxis]
        replica = tf.distribute.get_replica_context()
        total_weight = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(weights))
        with tf.GradientTape() as tape:
            logits = self.model(to_input(images), training=True)
            loss = tf.reduce_sum(self._loss(logits, reference) * weights)
            # Divided by the weight of all workers, because the optimizer sums their gradients.
            objective = loss / tf.maximum(total_weight, 1.0)
            if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
                objective = self.optimizer.get_scaled_loss(objective)
        gradients = tape.gradient(objective, self.model.trainable_variables)
        if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        return loss, tf.reduce_sum(weights), _count(logits, reference, weights)

    def _forward(self, images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = self.plain(to_input(images), training=False)
        losses = self._loss(logits, tf.cast(masks, tf.float32)[..., tf.newaxis])
        return losses, tf.cast(tf.round(tf.sigmoid(logits[..., 0]) * 255.0), tf.uint8)


def _strategy() -> tf.distribute.Strategy:
    """Return how gradients are shared: across workers, or not at all."""
    if ray.train.get_context().get_world_size() > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def _count(logits: tf.Tensor, reference: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return tp, fp, fn, tn over the slices of weight 1, int64 `(4,)`."""
    counted = tf.cast(weights > 0, tf.int64)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    predicted, lesion = tf.cast(logits >= 0, tf.int64), tf.cast(reference, tf.int64)
    tp = tf.reduce_sum(counted * predicted * lesion)
    fp = tf.reduce_sum(counted * predicted) - tp
    fn = tf.reduce_sum(counted * lesion) - tp
    n_pixels = tf.reduce_sum(counted) * tf.cast(tf.reduce_prod(tf.shape(reference)[1:]), tf.int64)
    return tf.stack([tp, fp, fn, n_pixels - tp - fp - fn])


def _padded(pixels: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([pixels, np.zeros((size - len(pixels), *pixels.shape[1:]), pixels.dtype)])


def _finish_epoch(
    loop: _Loop, sums: _EpochSums, *, epoch: int, is_chief: bool
) -> tuple[EpochRow, dict[str, ProbabilityHistogram]]:
    """Return the epoch's row of the history, the same on every worker; rank 0 validates, the others wait for it."""
    row: EpochRow = {}
    histograms: dict[str, ProbabilityHistogram] = {}
    loop.gather()
    if is_chief:
        val_sums, histograms = loop.validate(ray.train.get_dataset_shard("val"))
        level = probability_level(WATCH_THRESHOLD)
        per_patient = mean_defined([dice(histogram.counts_at(level)) for histogram in histograms.values()])
        row = {
            "epoch": epoch,
            "learning_rate": loop.learning_rate,
            **sums.figures("train"),
            **val_sums.figures("val"),
            "val_dice_per_patient": per_patient,
            **{f"train_{name}": n for name, n in asdict(sums.counts).items()},
            **{f"val_{name}": n for name, n in asdict(val_sums.counts).items()},
        }
    return broadcast_from_rank_zero(row), histograms


def _report(loop: _Loop, row: EpochRow, *, is_better: bool, is_chief: bool) -> None:
    """Tell Ray Train about an epoch; rank 0 attaches the weights where they are the best so far."""
    if not (is_better and is_chief):
        ray.train.report(row)
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, WEIGHTS_FILE).write_bytes(weights_to_bytes(loop.plain))
        ray.train.report(row, checkpoint=ray.train.Checkpoint.from_directory(folder))
