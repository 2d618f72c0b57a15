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


class BatchNormalization(tf.keras.layers.BatchNormalization):
    """BatchNorm that leans on each slice's own mean and variance when predicting; it trains as any other.

    y = gamma (x - m) / sqrt(v + epsilon) + beta, with m = (1 - share) moving_mean + share mean(x), v likewise, over
    height and width. A scanner or reconstruction unlike those trained on shifts what every channel of an encoder sees,
    and lesions are missed; its own statistics bring it back.

    Source: alpha-BN, You et al., arXiv 2110.04065, there with the statistics of a batch. Those of the slice alone keep
    its answer independent of what shares its batch. Named as its parent, because Keras' weight files name layers by
    class: the same file fits a network with any share, or none.
    """

    def __init__(self, *, share: float, **config: Any) -> None:  # Any: BatchNormalization's own parameters
        super().__init__(**config)
        self.share = share

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return the normalised `(B, H, W, C)`."""
        if training:
            return super().call(inputs, training=training)
        x = tf.cast(inputs, tf.float32)
        own_mean = tf.reduce_mean(x, axis=(1, 2), keepdims=True)
        # Not tf.nn.moments: a second pass over what is farther from the mean cost twice as much in all.
        own_variance = tf.maximum(tf.reduce_mean(tf.square(x), axis=(1, 2), keepdims=True) - tf.square(own_mean), 0.0)
        mean = (1 - self.share) * self.moving_mean + self.share * own_mean
        variance = (1 - self.share) * self.moving_variance + self.share * own_variance
        normalised = tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, self.epsilon)
        return tf.cast(normalised, inputs.dtype)

    def get_config(self) -> Config:
        """Return what builds the same layer."""
        return super().get_config() | {"share": self.share}


def average_fast(network: tf.keras.Model) -> None:
    """Let the moving averages of a network follow within a few dozen steps."""
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = FAST_MOMENTUM


def lean_on_slices(network: tf.keras.Model, share: float) -> tf.keras.Model:
    """Return the same network whose encoder leans on each slice's own statistics when predicting.

    Args:
        network: Of segmentation-models.
        share: Of the slice's own mean and variance, in (0, 1].
    """

    def rebuilt(layer: tf.keras.layers.BatchNormalization) -> tf.keras.layers.Layer:
        if layer.name.startswith(DECODER_PREFIXES):
            return type(layer).from_config(layer.get_config())
        return BatchNormalization.from_config(layer.get_config() | {"share": share})

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
