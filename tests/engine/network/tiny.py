"""A network of two layers in place of one of segmentation-models: what is held of any network is seen in a second."""

import tensorflow as tf


def tiny(
    backbone: str, decoder_filters: int, *, encoder_weights: None, classes: int, activation: str
) -> tf.keras.Model:
    """Return a network with BatchNorm behind each of its convolutions; called as those of `ARCHITECTURES` are."""
    image = tf.keras.Input((None, None, 3))
    seen = image
    for name in ("stage0", "decoder_stage0"):
        seen = tf.keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_conv")(seen)
        seen = tf.keras.layers.BatchNormalization(name=f"{name}_bn")(seen)
        seen = tf.keras.layers.Activation("relu", name=f"{name}_relu")(seen)
    answer = tf.keras.layers.Conv2D(classes, 3, padding="same", activation=activation, name="final_conv")(seen)
    return tf.keras.Model(image, answer)
