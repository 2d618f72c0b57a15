"""Network: building, initial weights, saving and loading. The only module that uses segmentation-models."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import segmentation_models as sm
import tensorflow as tf

from tasks.core.catalog import Architecture
from tasks.core.errors import ModelError
from tasks.engine.network import lite
from tasks.engine.network.batchnorm import mix_slice_statistics, set_batchnorm_momentum

N_BLOCKS, MIN_FILTERS = 5, 16
"""Blocks of a decoder, one per halving of the encoder, and the fewest filters of one."""


def block_filters(first: int) -> tuple[int, ...]:
    """Return the filters of the decoder's blocks: halved block by block, at least 16; 128 → 128, 64, 32, 16, 16."""
    return tuple(max(first >> block, MIN_FILTERS) for block in range(N_BLOCKS))


def _unet(backbone: str, decoder_filters: int, **head: object) -> tf.keras.Model:
    return sm.Unet(backbone, decoder_filters=block_filters(decoder_filters), **head)


def _linknet(backbone: str, decoder_filters: int, **head: object) -> tf.keras.Model:
    """Return a LinkNet; its blocks have the filters of the skips they are added to, only the last has its own."""
    return sm.Linknet(backbone, decoder_filters=block_filters(decoder_filters), **head)


def _fpn(backbone: str, decoder_filters: int, **head: object) -> tf.keras.Model:
    return sm.FPN(backbone, pyramid_block_filters=decoder_filters, **head)


ARCHITECTURES: dict[Architecture, Callable[..., tf.keras.Model]] = {"unet": _unet, "linknet": _linknet, "fpn": _fpn}
"""Networks by name: from the backbone's name and `decoder_filters` of `build_model`, and the head's parameters."""

INPUT_BATCHNORM = "bn_data"
"""First layer of classification_models' ResNets, which expect images of 0 to 255."""


def share_cores() -> None:
    """Give TensorFlow two threads per core; must be called before any other use of it in this process.

    A layer waits for its slowest thread. With one thread per core, any other load on a core delays all of them;
    with two, the other cores do the rest. On 2 cores with a tenth of one in use: 45.1 ms per slice became 42.3 in
    bfloat16, 83.9 became 80.6 in float32; without other load there is no difference.
    """
    tf.config.threading.set_intra_op_parallelism_threads(2 * len(os.sched_getaffinity(0)))


def build_model(
    architecture: Architecture,
    backbone: str,
    *,
    decoder_filters: int,
    n_outputs: int = 1,
    slice_statistics: float = 0.0,
    encoder_weights: bytes | None = None,
) -> tf.keras.Model:
    """Return a network from `(B, H, W, 3)` in [0, 1] to float32 logits `(B, H, W, n_outputs)`.

    H and W are multiples of 32.

    Args:
        architecture: Decoder.
        backbone: Encoder.
        decoder_filters: Filters of the decoder's first block, halved block by block. Of an FPN, those of its pyramid,
            and half as many in its segmentation blocks. A LinkNet's blocks follow the encoder, whatever this is.
        n_outputs: Number of outputs.
        slice_statistics: Weight of per-slice statistics in the encoder's BatchNorm.
        encoder_weights: Content of a Keras .h5 file with the encoder's weights; None starts from random ones.

    Raises:
        ModelError: If the weights do not fit the encoder.
    """
    _make_known()
    network = ARCHITECTURES[architecture](
        backbone, decoder_filters, encoder_weights=None, classes=n_outputs, activation="linear"
    )
    set_batchnorm_momentum(network)
    if encoder_weights is not None:
        _load_encoder(network, encoder_weights, backbone)
        _rescale_input_batchnorm(network)
    if slice_statistics:
        layers = lite.MIXED if backbone == lite.BACKBONE else None
        mix_slice_statistics(network, slice_statistics, layers=layers)
    logits = tf.keras.layers.Activation("linear", dtype="float32", name="logits")(network.output)
    return tf.keras.Model(network.input, logits)


def to_input(images: tf.Tensor) -> tf.Tensor:
    """Return uint8 slices `(B, H, W)` as the network's input, float32 `(B, H, W, 3)` in [0, 1]."""
    scaled = tf.cast(images, tf.float32)[..., tf.newaxis] / 255.0
    return tf.repeat(scaled, 3, axis=-1)


def predict_probability(network: tf.keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Return each output's probability per pixel, float32 `(n_outputs, B, H, W)`, of uint8 slices `(B, H, W)`.

    Args:
        network: From `build_model`.
        images: Slices.
    """
    return tf.transpose(tf.sigmoid(network(to_input(images), training=False)), (3, 0, 1, 2))


def weights_to_bytes(model: tf.keras.Model) -> bytes:
    """Return the weights as a Keras HDF5 file, which holds arrays only and is read without unpickling."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.weights.h5")
        model.save_weights(path, save_format="h5")
        return path.read_bytes()


def load_weights(model: tf.keras.Model, content: bytes) -> None:
    """Load weights written by `weights_to_bytes`.

    Raises:
        ModelError: If they do not fit the network.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.weights.h5")
        path.write_bytes(content)
        try:
            model.load_weights(path)
        except (ValueError, OSError) as err:
            raise ModelError(f"The weights do not fit {model.name}: {err}") from err


def _make_known() -> None:
    """Make EfficientNet-Lite0 an encoder of segmentation-models, which has no public way to add one."""
    sm.Backbones._models_update[lite.BACKBONE] = [lambda **_: lite.build_encoder(), None]
    sm.Backbones._default_feature_layers[lite.BACKBONE] = lite.SKIPS


def _rescale_input_batchnorm(network: tf.keras.Model) -> None:
    """Rescale averages of images of 0 to 255 to those of images in [0, 1]; others are left unchanged.

    Otherwise every input would look black to the encoder until the averages have adapted. An encoder without averages
    of its input scales the images itself.
    """
    if all(layer.name != INPUT_BATCHNORM for layer in network.layers):
        return
    layer = network.get_layer(INPUT_BATCHNORM)
    *affine, mean, variance = layer.get_weights()
    if mean.max() > 1.0:
        layer.set_weights([*affine, mean / 255.0, variance / 255.0**2])


def _load_encoder(network: tf.keras.Model, content: bytes, backbone: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "encoder.h5")
        path.write_bytes(content)
        try:
            with h5py.File(path) as file:
                group = file.get("model_weights", file)
                stored = {name for name, layer in group.items() if len(layer)}
        except OSError as err:
            raise ModelError(f"The encoder weights of {len(content)} bytes are not an HDF5 file.") from err
        missing = stored - {layer.name for layer in network.layers}
        if missing or not stored:
            raise ModelError(
                f"The encoder weights hold {len(stored)} layers, {len(missing)} of which {backbone} does not have "
                f"(for instance {', '.join(sorted(missing)[:3]) or 'none'}). "
                f"Use the file made for {backbone}, without its top."
            )
        try:
            network.load_weights(path, by_name=True)
        except ValueError as err:
            raise ModelError(f"The encoder weights do not fit {backbone}: {err}") from err
