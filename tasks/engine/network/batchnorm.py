"""BatchNorm with per-slice statistics at inference, and with statistics over all devices in training."""

from typing import Any

import tensorflow as tf

FAST_MOMENTUM = 0.9
"""With 0.99, as in segmentation-models, the moving averages are still near their initial values after some hundred
steps: validation Dice stays 0 while the training loss falls. The decoder always starts from random weights."""

DECODER_PREFIXES = ("decoder_", "center_", "fpn_", "segm_", "final_")
"""Prefixes of the layers that segmentation-models adds to an encoder."""

Config = dict[str, Any]  # Any: a layer's own parameters


class BatchNormalization(tf.keras.layers.BatchNormalization):  # type: ignore[misc]  # TensorFlow ships no types
    """BatchNorm that mixes per-slice statistics into the moving averages at inference; training is unchanged.

    y = gamma (x - m) / sqrt(v + epsilon) + beta, with m = (1 - f) moving_mean + f mean(x), v likewise, over height and
    width, where f is `slice_statistics`. A scanner or reconstruction unlike the training data shifts every channel of
    the encoder, and lesions are missed; per-slice statistics compensate for the shift.

    Source: alpha-BN, You et al., arXiv 2110.04065, there with statistics of the batch. Those of a slice keep its
    prediction independent of the other slices in the batch. Named as its parent class, because Keras' weight files name
    layers by class: the same file fits a network with any `slice_statistics`, or none.
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
        # Neither rsqrt nor a plain division, which becomes one: its last bit depends on the position in the batch.
        gamma = self.gamma if self.scale else 1.0
        scale = tf.math.divide_no_nan(gamma, tf.sqrt(variance + self.epsilon))
        return tf.cast(about * scale + (self.beta - own * own_mean * scale), inputs.dtype)

    def get_config(self) -> Config:
        """Return the configuration of the layer."""
        config: Config = super().get_config()
        return config | {"slice_statistics": self.slice_statistics}


def set_batchnorm_momentum(network: tf.keras.Model) -> None:
    """Set a momentum with which the moving averages adapt within a few dozen steps."""
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = FAST_MOMENTUM


def mix_slice_statistics(
    network: tf.keras.Model, slice_statistics: float, *, layers: frozenset[str] | None = None
) -> None:
    """Mix per-slice statistics into the encoder's BatchNorm at inference.

    The layers change their class, because building another network takes as long as the first: 1.3 s.

    Args:
        network: Network of segmentation-models.
        slice_statistics: Weight of per-slice statistics, in (0, 1].
        layers: Names of the layers to change; None changes all of the encoder.
    """
    for layer in network.layers:
        is_chosen = not layer.name.startswith(DECODER_PREFIXES) if layers is None else layer.name in layers
        if is_chosen and isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.__class__ = BatchNormalization
            layer.slice_statistics = slice_statistics


def synchronise(network: tf.keras.Model) -> tf.keras.Model:
    """Return the network whose BatchNorm computes mean and variance over the batches of all devices.

    Statistics of one device's share are worse the smaller it is: on phantoms, two devices with four slices each had
    0.03 less Dice than one with eight (infra/decisions/0013).
    """

    def cloned(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        is_batchnorm = isinstance(layer, tf.keras.layers.BatchNormalization)
        return type(layer).from_config(layer.get_config() | ({"synchronized": True} if is_batchnorm else {}))

    clone = tf.keras.models.clone_model(network, clone_function=cloned)
    clone.set_weights(network.get_weights())
    return clone
