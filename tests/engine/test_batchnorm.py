import numpy as np
import pytest
import tensorflow as tf
from classification_models.tfkeras import Classifiers
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core import catalog
from tasks.engine.batchnorm import BatchNormalization
from tasks.engine.model import build_model, load_weights, to_input, weights_to_bytes

pytestmark = pytest.mark.tf

N_CHANNELS = 3


def _layer(share: float) -> BatchNormalization:
    layer = BatchNormalization(share=share)
    layer.build((None, None, None, N_CHANNELS))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2, N_CHANNELS).astype(np.float32) for _ in range(4)])
    return layer


def _maps(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(2, 3, (4, 8, 8, N_CHANNELS)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_statistics_are_mixed_by_their_share(share: float, seed: int) -> None:
    """Mean and variance are (1 - share) of training's and share of the slice's own, whatever the share."""
    layer, maps = _layer(share), _maps(seed)
    gamma, beta, mean, variance = layer.get_weights()
    mean = (1 - share) * mean + share * maps.mean(axis=(1, 2), keepdims=True)
    variance = (1 - share) * variance + share * maps.var(axis=(1, 2), keepdims=True)
    expected = gamma * (maps - mean) / np.sqrt(variance + layer.epsilon) + beta
    np.testing.assert_allclose(layer(maps, training=False), expected, rtol=1e-3, atol=1e-3)


def test_an_even_slice_gives_finite_numbers() -> None:
    """A slice without any contrast has no variance, and rounding must not make it negative."""
    even = np.full((1, 64, 64, N_CHANNELS), 0.3, np.float32)
    assert np.isfinite(_layer(1.0)(even, training=False)).all()


def test_it_trains_as_any_other() -> None:
    """While training, answer and moving averages are those of BatchNorm."""
    layer, plain, maps = _layer(0.5), tf.keras.layers.BatchNormalization(), _maps(0)
    plain.build(maps.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(maps, training=True), plain(maps, training=True), rtol=1e-6)
    for one, two in zip(layer.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_half_precision_goes_in_and_out() -> None:
    """Between layers of a mixed policy it takes and gives their numbers, and sums in float32."""
    maps = tf.cast(_maps(0), tf.bfloat16)
    layer = BatchNormalization(share=0.5, dtype="mixed_bfloat16")
    assert layer(maps, training=False).dtype == tf.bfloat16


@pytest.mark.parametrize("architecture", catalog.ARCHITECTURES)
def test_the_encoder_leans_on_slices_and_the_decoder_does_not(architecture: catalog.Architecture) -> None:
    """In every architecture it is the layers of the encoder, all of them, and no other."""
    build_encoder, _ = Classifiers.get("resnet18")
    encoder = build_encoder(input_shape=(None, None, 3), weights=None, include_top=False)
    of_encoder = {layer.name for layer in encoder.layers if isinstance(layer, tf.keras.layers.BatchNormalization)}
    network = build_model(architecture, "resnet18", slice_statistics=0.2)
    leaning = {layer.name for layer in network.layers if isinstance(layer, BatchNormalization)}
    assert leaning == of_encoder & {layer.name for layer in network.layers}


def test_weights_fit_with_any_share_and_the_share_decides() -> None:
    """The same weights go into a network with another share, and then it answers otherwise."""
    plain, leaning = (build_model("unet", "resnet18", slice_statistics=share) for share in (0.0, 0.5))
    load_weights(leaning, weights_to_bytes(plain))
    image = to_input(np.random.default_rng(0).integers(0, 255, (1, 64, 64), np.uint8))
    assert np.abs(plain(image, training=False) - leaning(image, training=False)).max() > 0.01


def test_it_brings_back_a_scanner_unlike_those_trained_on() -> None:
    """Of maps with another offset and gain it makes more nearly what it made of them before."""
    maps, layer, plain = _maps(0), _layer(0.5), _layer(1e-6)
    shifted = 3 * maps + 5
    change, change_of_plain = (
        float(np.abs(of(shifted, training=False) - of(maps, training=False)).mean()) for of in (layer, plain)
    )
    assert change < 0.7 * change_of_plain
