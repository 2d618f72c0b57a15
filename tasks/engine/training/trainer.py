"""Learner: a network with its optimizer, compiled step and state."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.labels import LESION, LUNG
from tasks.engine.network import batchnorm
from tasks.engine.network.losses import LOSSES, bce_dice_loss
from tasks.engine.network.model import build_model, load_weights, to_input


class Learner:
    """Learner of one worker: network, optimizer and compiled step."""

    def __init__(
        self,
        model: ModelConfig,
        training: TrainingConfig,
        strategy: tf.distribute.Strategy,
        *,
        n_workers: int,
        n_outputs: int = 1,
        encoder_weights: bytes | None = None,
        first_weights: bytes | None = None,
    ) -> None:
        """Build and compile.

        Args:
            model: Network.
            training: Loss, precision and frozen layers.
            strategy: Distribution over devices and workers.
            n_workers: Number of workers that share a global batch.
            n_outputs: Number of outputs: the lesion, and with two the lung.
            encoder_weights: Content of an encoder's weight file.
            first_weights: Content of the weight file of a bundle to fine-tune.
        """
        self._model, self._encoder_weights, self._first_weights = model, encoder_weights, first_weights
        self._freeze_batchnorm = training.freeze_batchnorm
        self._n_outputs = n_outputs
        self._lesion_loss, self._lung_weight = LOSSES[training.loss], training.lung_weight
        self._strategy, self._n_workers = strategy, n_workers
        is_shared = strategy.num_replicas_in_sync > 1
        with strategy.scope():
            self.network = self._build()
            if is_shared and not training.freeze_batchnorm:
                self.network = batchnorm.synchronise(self.network)
            optimizer = tf.keras.optimizers.Adam(training.learning_rate)
            if training.precision == "float16":
                optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
            self.optimizer = optimizer
            self._build_optimizer()
        # Validated and saved from here: reading a distributed network's BatchNorm averages outside a replica is a
        # collective that every worker must join, and the first worker alone would wait for ever.
        self.plain = self._build() if is_shared else self.network
        self._compiled_step = tf.function(self._distributed_step, reduce_retracing=True)
        self._compiled_forward = tf.function(self._forward, reduce_retracing=True)

    def gather(self) -> None:
        """Copy the averaged weights of all devices into `plain`; all workers call it together."""
        if self.plain is not self.network:
            self.plain.set_weights(self.network.get_weights())

    def step(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        has_lung: np.ndarray,
        *,
        learning_rate: float,
    ) -> tuple[float, float, list[int]]:
        """Run one optimizer step over the global batch, given this worker's share.

        Args:
            images: uint8 `(B, H, W)`.
            labels: uint8 `(B, H, W)`, as in core/labels.py.
            weights: float32 `(B,)`, 0 for padding.
            has_lung: bool `(B,)`, whether the labels of a slice hold its lungs.
            learning_rate: Learning rate of this step.

        Returns:
            Weighted loss, weight, and lesion pixels tp, fp, fn, tn at threshold 0.5, summed over all workers.
        """
        self.optimizer.learning_rate.assign(learning_rate)
        loss, weight, counts = self._compiled_step(
            *(self._spread(part) for part in (images, labels, weights, has_lung))
        )
        return float(loss), float(weight), [int(n) for n in counts.numpy()]

    def forward(self, images: np.ndarray, labels: np.ndarray, has_lung: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return loss, float32 `(B,)`, and probability, uint8 `(n_outputs, B, H, W)` in units of 1/255, by `plain`."""
        losses, probability = self._compiled_forward(images, labels, has_lung)
        return losses.numpy(), probability.numpy()

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the probability as `forward` does, with the function that validation has already compiled."""
        _, probability = self.forward(images, np.zeros_like(images), np.zeros(len(images), bool))
        return probability

    def load(self, weights: bytes) -> None:
        """Load a weight file into `plain`, which may be the trained network; after the last step only."""
        load_weights(self.plain, weights)

    def state(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the gathered weights and the optimizer's variables."""
        return self.plain.get_weights(), [variable.numpy() for variable in self.optimizer.variables]

    def restore(self, weights: Sequence[np.ndarray], optimizer: Sequence[np.ndarray]) -> None:
        """Restore a state; all workers call it with the same one."""
        self.network.set_weights(weights)
        for variable, value in zip(self.optimizer.variables, optimizer, strict=True):
            variable.assign(value)

    def _build(self) -> tf.keras.Model:
        network = build_model(
            self._model.architecture,
            self._model.backbone,
            n_outputs=self._n_outputs,
            decoder_filters=self._model.decoder_filters,
            slice_statistics=self._model.slice_statistics,
            encoder_weights=self._encoder_weights,
        )
        if self._first_weights is not None:
            load_weights(network, self._first_weights)
        if self._freeze_batchnorm:
            for layer in network.layers:
                layer.trainable = not isinstance(layer, tf.keras.layers.BatchNormalization)
        return network

    def _build_optimizer(self) -> None:
        """Create the optimizer's variables, so that a state can be restored before the first step."""
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        inner.build(self.network.trainable_variables)

    def _spread(self, share: np.ndarray) -> tf.Tensor:
        """Return this worker's share of a batch, split evenly over its devices."""
        n_devices = self._strategy.num_replicas_in_sync // self._n_workers
        if n_devices == 1:
            return tf.convert_to_tensor(share)
        parts = np.split(share, n_devices)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.convert_to_tensor(parts[context.replica_id_in_sync_group % n_devices])
        )

    def _distributed_step(self, *share: tf.Tensor) -> tuple[tf.Tensor, ...]:
        sums = self._strategy.run(self._local_step, args=share)
        return tuple(self._strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None) for each in sums)

    def _local_step(
        self, images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, has_lung: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        replica = tf.distribute.get_replica_context()
        total_weight = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(weights))
        with tf.GradientTape() as tape:
            logits = self.network(to_input(images), training=True)
            loss = tf.reduce_sum(self._losses(logits, labels, has_lung) * weights)
            # Divided by the weight of all workers, because the optimizer sums their gradients.
            objective = loss / tf.maximum(total_weight, 1.0)
            if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
                objective = self.optimizer.get_scaled_loss(objective)
        gradients = tape.gradient(objective, self.network.trainable_variables)
        if isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.network.trainable_variables, strict=True))
        return loss, tf.reduce_sum(weights), _count(logits[..., :1], _reference(labels, LESION), weights)

    def _forward(self, images: tf.Tensor, labels: tf.Tensor, has_lung: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = self.plain(to_input(images), training=False)
        probability = tf.transpose(tf.sigmoid(logits), (3, 0, 1, 2))
        return self._losses(logits, labels, has_lung), tf.cast(tf.round(probability * 255.0), tf.uint8)

    def _losses(self, logits: tf.Tensor, labels: tf.Tensor, has_lung: tf.Tensor) -> tf.Tensor:
        """Return the loss of each slice: of the lesion, and of the lung where it is known."""
        lesion = self._lesion_loss(logits[..., :1], _reference(labels, LESION))
        if self._n_outputs == 1:
            return lesion
        lung = bce_dice_loss(logits[..., 1:], _reference(labels, LUNG))
        return lesion + self._lung_weight * lung * tf.cast(has_lung, tf.float32)


def choose_strategy(n_workers: int) -> tf.distribute.Strategy:
    """Return the distribution strategy: over workers, over the GPUs of one worker, or none."""
    if n_workers > 1:  # which also uses all GPUs of each worker
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _reference(labels: tf.Tensor, bit: int) -> tf.Tensor:
    """Return the mask of one bit of the labels, float32 `(B, H, W, 1)` of 0 and 1."""
    return tf.cast(tf.bitwise.bitwise_and(labels, tf.constant(bit, tf.uint8)) > 0, tf.float32)[..., tf.newaxis]


def _count(logits: tf.Tensor, reference: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return tp, fp, fn, tn over the slices of weight 1, int64 `(4,)`."""
    counted = tf.cast(weights > 0, tf.int64)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    predicted, lesion = tf.cast(logits >= 0, tf.int64), tf.cast(reference, tf.int64)
    tp = tf.reduce_sum(counted * predicted * lesion)
    fp = tf.reduce_sum(counted * predicted) - tp
    fn = tf.reduce_sum(counted * lesion) - tp
    n_pixels = tf.reduce_sum(counted) * tf.cast(tf.reduce_prod(tf.shape(reference)[1:]), tf.int64)
    return tf.stack([tp, fp, fn, n_pixels - tp - fp - fn])
