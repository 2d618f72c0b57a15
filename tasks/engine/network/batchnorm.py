"""BatchNorm as this project trains and predicts with it."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

FAST_MOMENTUM = 0.9
"""With segmentation-models' 0.99 the moving averages still belong to the start after some hundred steps: validation
Dice stays 0 while the training loss falls. The decoder starts from random weights whatever the encoder does."""

DECODER_PREFIXES = ("decoder_", "center_", "fpn_", "segm_", "final_")
"""How segmentation-models names the layers that it adds to an encoder."""

Config = dict[str, Any]  # Any: a layer's own parameters


class BatchNormalization(tf.keras.layers.BatchNormalization):  # type: ignore[misc]  # TensorFlow ships no types
    """BatchNorm that leans on each slice's own mean and variance when predicting; it trains as any other.

    y = gamma (x - m) / sqrt(v + epsilon) + beta, with m = (1 - f) moving_mean + f mean(x), v likewise, over height and
    width, where f is `slice_statistics`. A scanner or reconstruction unlike those trained on shifts what every channel
    of an encoder sees, and lesions are missed; its own statistics bring it back.

    Source: alpha-BN, You et al., arXiv 2110.04065, there with the statistics of a batch. Those of the slice alone keep
    its answer independent of what shares its batch. Named as its parent, because Keras' weight files name layers by
    class: the same file fits a network with any `slice_statistics`, or none.
    """

    def __init__(self, *, slice_statistics: float, **config: Any) -> None:  # Any: BatchNormalization's own parameters
        super().__init__(**config)
        self.slice_statistics = slice_statistics

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return the normalised `(B, H, W, C)`."""
        if training:
            return super().call(inputs, training=training)
        # About the moving mean, so that nothing is lost between two large numbers; tf.nn.moments takes a pass more.
        about = tf.cast(inputs, tf.float32) - self.moving_mean
        own_mean = tf.reduce_mean(about, axis=(1, 2), keepdims=True)
        own_variance = tf.reduce_mean(tf.square(about), axis=(1, 2), keepdims=True) - tf.square(own_mean)
        own, averaged = self.slice_statistics, 1 - self.slice_statistics
        variance = averaged * self.moving_variance + own * tf.maximum(own_variance, 0.0)
        # Neither rsqrt nor a plain division, which becomes one: its last bit depends on the place in the batch.
        gamma = self.gamma if self.scale else 1.0
        scale = tf.math.divide_no_nan(gamma, tf.sqrt(variance + self.epsilon))
        return tf.cast(about * scale + (self.beta - own * own_mean * scale), inputs.dtype)

    def get_config(self) -> Config:
        """Return what builds the same layer."""
        config: Config = super().get_config()
        return config | {"slice_statistics": self.slice_statistics}


def set_batchnorm_momentum(network: tf.keras.Model) -> None:
    """Let the moving averages of a network follow within a few dozen steps."""
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = FAST_MOMENTUM


def mix_slice_statistics(network: tf.keras.Model, slice_statistics: float) -> tf.keras.Model:
    """Return the same network whose encoder leans on each slice's own statistics when predicting.

    Args:
        network: Of segmentation-models.
        slice_statistics: Fraction that is the slice's own of mean and variance, in (0, 1].
    """

    def rebuilt(layer: tf.keras.layers.BatchNormalization) -> tf.keras.layers.Layer:
        if layer.name.startswith(DECODER_PREFIXES):
            return type(layer).from_config(layer.get_config())
        return BatchNormalization.from_config(layer.get_config() | {"slice_statistics": slice_statistics})

    return _clone(network, rebuilt)


def synchronise(network: tf.keras.Model) -> tf.keras.Model:
    """Return the same network whose BatchNorm takes mean and variance over the batches of all devices.

    Each device alone sees its own share only, which teaches the worse the smaller it is: on phantoms two devices with
    four slices each lost 0.03 Dice to one with eight (infra/decisions/0013).
    """
    return _clone(network, lambda layer: type(layer).from_config(layer.get_config() | {"synchronized": True}))


def _clone(
    network: tf.keras.Model, rebuilt: Callable[[tf.keras.layers.BatchNormalization], tf.keras.layers.Layer]
) -> tf.keras.Model:
    def cloned(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            return rebuilt(layer)
        return type(layer).from_config(layer.get_config())

    clone = tf.keras.models.clone_model(network, clone_function=cloned)
    clone.set_weights(network.get_weights())
    return clone
