"""EfficientNet-Lite0 as an encoder, in the layers of its published weights.

Sources: Tan and Le, EfficientNet, arXiv 1905.11946, table 1; the Lite variant (tensorflow/tpu, efficientnet/lite, 2020)
leaves out squeeze-and-excitation, has ReLU6 for swish, and keeps the stem at 32 channels.
"""

from dataclasses import dataclass

import tensorflow as tf

BACKBONE = "efficientnetlite0"
STEM_CHANNELS = 32
EPSILON = 1e-3
"""Of BatchNorm, as its weights were trained."""

CENTRE, SPREAD = 127.0, 128.0
"""Inputs of 0 to 255 were scaled by (x - 127) / 128."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Row of the table of blocks: inverted residual blocks of one shape, the first of which has the stride.

    Attributes:
        n_blocks: Number of blocks.
        kernel_px: Side of the depthwise kernel.
        stride: Of the first block.
        expansion: Channels inside a block per channel of its input; 1 has no layer for it.
        channels: Channels of its output.
    """

    n_blocks: int
    kernel_px: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(n_blocks=1, kernel_px=3, stride=1, expansion=1, channels=16),
    Stage(n_blocks=2, kernel_px=3, stride=2, expansion=6, channels=24),
    Stage(n_blocks=2, kernel_px=5, stride=2, expansion=6, channels=40),
    Stage(n_blocks=3, kernel_px=3, stride=2, expansion=6, channels=80),
    Stage(n_blocks=3, kernel_px=5, stride=1, expansion=6, channels=112),
    Stage(n_blocks=4, kernel_px=5, stride=2, expansion=6, channels=192),
    Stage(n_blocks=1, kernel_px=3, stride=1, expansion=6, channels=320),
)
SKIPS = ("blocks.10.add", "blocks.4.add", "blocks.2.add", "blocks.0.bn2")
"""Layers whose outputs the decoder takes: the last ones at 1/16, 1/8, 1/4 and 1/2 of the input's side."""

MIXED = frozenset(f"blocks.{block}.{layer}" for block in range(2, 16) for layer in ("bn1", "bn2"))
"""BatchNorm layers into which per-slice statistics are mixed: from 1/4 of the input's side on, and not those before a
depthwise convolution. On unseen patients they do what all layers do (infra/docs/accuracy.md), for a fifth of the
time: the others hold four fifths of the numbers."""


def build_encoder() -> tf.keras.Model:
    """Return the encoder from images `(B, H, W, 3)` in [0, 1] to features `(B, H/32, W/32, 320)`, from random weights.

    Its layers are named by the modules of its weight file (tasks/io/keras_weights.py).
    """
    image = tf.keras.Input((None, None, 3))
    # In float32 whatever the policy is: half precision would round the image before it is centred.
    scaled = tf.keras.layers.Rescaling(255.0 / SPREAD, -CENTRE / SPREAD, dtype="float32", name="rescaling")(image)
    features = _relu6(
        _batchnorm(_convolution(scaled, "conv_stem", STEM_CHANNELS, kernel_px=3, stride=2), "bn0"), "relu"
    )
    strides = [(stage, stage.stride if block == 0 else 1) for stage in STAGES for block in range(stage.n_blocks)]
    for index, (stage, stride) in enumerate(strides):
        features = _block(features, f"blocks.{index}", stage, stride)
    return tf.keras.Model(image, features, name=BACKBONE)


def _block(features: tf.Tensor, name: str, stage: Stage, stride: int) -> tf.Tensor:
    """Return features `(B, H/stride, W/stride, channels)`: expanded, convolved per channel, projected, added."""
    n_channels = features.shape[-1]
    inner = features
    if stage.expansion > 1:
        inner = _convolution(inner, f"{name}.expand_conv", n_channels * stage.expansion)
        inner = _relu6(_batchnorm(inner, f"{name}.bn0"), f"{name}.expand_relu")
    inner = tf.keras.layers.DepthwiseConv2D(
        stage.kernel_px,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=_initializer(),
        name=f"{name}.depthwise_conv",
    )(inner)
    inner = _relu6(_batchnorm(inner, f"{name}.bn1"), f"{name}.depthwise_relu")
    inner = _batchnorm(_convolution(inner, f"{name}.project_conv", stage.channels), f"{name}.bn2")
    if (stride, n_channels) == (1, stage.channels):
        return tf.keras.layers.Add(name=f"{name}.add")([features, inner])
    return inner


def _convolution(features: tf.Tensor, name: str, n_filters: int, *, kernel_px: int = 1, stride: int = 1) -> tf.Tensor:
    return tf.keras.layers.Conv2D(
        n_filters,
        kernel_px,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer=_initializer(),
        name=name,
    )(features)


def _batchnorm(features: tf.Tensor, name: str) -> tf.Tensor:
    return tf.keras.layers.BatchNormalization(epsilon=EPSILON, name=name)(features)


def _relu6(features: tf.Tensor, name: str) -> tf.Tensor:
    return tf.keras.layers.ReLU(6.0, name=name)(features)


def _initializer() -> tf.keras.initializers.Initializer:
    """Return the initialiser of EfficientNet's convolutions; a new one each, or all would draw the same numbers."""
    return tf.keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")
