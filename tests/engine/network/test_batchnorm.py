import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core import catalog
from tasks.engine.network import lite
from tasks.engine.network.batchnorm import BatchNormalization
from tasks.engine.network.model import load_weights, to_input, weights_to_bytes
from tests.engine.network.networks import SLICE_STATISTICS, built, encoder

pytestmark = pytest.mark.tf

N_CHANNELS = 3


def _layer(slice_statistics: float) -> BatchNormalization:
    layer = BatchNormalization(slice_statistics=slice_statistics, epsilon=2e-5)  # classification_models' epsilon
    layer.build((None, None, None, N_CHANNELS))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2, N_CHANNELS).astype(np.float32) for _ in range(4)])
    return layer


LEANING = _layer(0.2)


def _maps(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(2, 3, (4, 8, 8, N_CHANNELS)).astype(np.float32)


@tf.function
def _in_graph(maps: tf.Tensor) -> tf.Tensor:
    return LEANING(maps, training=False)


def _compiled(maps: np.ndarray) -> np.ndarray:
    return _in_graph(tf.constant(np.ascontiguousarray(maps))).numpy()


@settings(max_examples=25, deadline=None)
@given(fraction=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_statistics_are_mixed(fraction: float, seed: int) -> None:
    """Mean and variance are to 1 - f those of training and to f the slice's own, whatever the fraction f."""
    layer, maps = _layer(fraction), _maps(seed)
    gamma, beta, mean, variance = layer.get_weights()
    mean = (1 - fraction) * mean + fraction * maps.mean(axis=(1, 2), keepdims=True)
    variance = (1 - fraction) * variance + fraction * maps.var(axis=(1, 2), keepdims=True)
    expected = gamma * (maps - mean) / np.sqrt(variance + layer.epsilon) + beta
    np.testing.assert_allclose(layer(maps, training=False), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", [0.1, 0.3, 33.3, 300.7])
def test_an_even_slice_gives_finite_numbers(level: float) -> None:
    """A slice without any contrast has no variance, and rounding must not make it negative."""
    even = np.full((1, 256, 256, N_CHANNELS), level, np.float32)
    assert np.isfinite(_layer(1.0)(even, training=False)).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999))
def test_a_slice_is_normalised_alike_wherever_it_stands(seed: int) -> None:
    """To the last bit, whatever its place in the batch and whoever shares it, in the graph that predicts."""
    maps = _maps(seed)
    answer = _compiled(maps)
    np.testing.assert_array_equal(answer, _compiled(maps[::-1])[::-1])
    alone = np.zeros_like(maps)
    alone[0] = maps[0]
    np.testing.assert_array_equal(answer[0], _compiled(alone)[0])


def test_it_trains_as_any_other() -> None:
    """While training, answer and moving averages are those of BatchNorm."""
    layer, maps = _layer(0.5), _maps(0)
    plain = tf.keras.layers.BatchNormalization(epsilon=layer.epsilon)
    plain.build(maps.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(maps, training=True), plain(maps, training=True), rtol=1e-6)
    for one, two in zip(layer.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_frozen_it_trains_on_the_averages_alone() -> None:
    """Frozen, a training sees what BatchNorm's averages make of a slice, and they stay."""
    layer, maps = _layer(0.5), _maps(0)
    gamma, beta, mean, variance = before = layer.get_weights()
    layer.trainable = False
    expected = gamma * (maps - mean) / np.sqrt(variance + layer.epsilon) + beta
    np.testing.assert_allclose(layer(maps, training=True), expected, rtol=1e-4, atol=1e-4)
    for one, two in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)


def test_half_precision_goes_in_and_out_and_sums_do_not_lose_by_it() -> None:
    """Between layers of a mixed policy it takes and gives their numbers, near those of float32."""
    maps = tf.cast(_maps(0) + 100, tf.bfloat16)
    half, single = (BatchNormalization(slice_statistics=0.5, dtype=dtype) for dtype in ("mixed_bfloat16", "float32"))
    found = half(maps, training=False)
    assert found.dtype == tf.bfloat16
    expected = single(tf.cast(maps, tf.float32), training=False)
    np.testing.assert_allclose(tf.cast(found, tf.float32), expected, rtol=2**-8)


@pytest.mark.parametrize(
    ("architecture", "backbone"),
    sorted({*((name, "resnet18") for name in catalog.ARCHITECTURES), *(("unet", name) for name in catalog.BACKBONES)}),
)
def test_the_encoder_leans_on_slices_and_the_decoder_does_not(
    architecture: catalog.Architecture, backbone: str
) -> None:
    """Whatever is built, it is the layers of the encoder, all of a ResNet, the small ones of the light one."""
    of_encoder = {
        layer.name for layer in encoder(backbone).layers if isinstance(layer, tf.keras.layers.BatchNormalization)
    }
    leaning = {layer.name for layer in built(architecture, backbone).layers if isinstance(layer, BatchNormalization)}
    assert leaning == (lite.MIXED if backbone == lite.BACKBONE else of_encoder)
    assert leaning
    assert leaning <= of_encoder


def test_weights_fit_whatever_it_leans_on_and_that_decides() -> None:
    """The same file goes into a network that leans otherwise, layer by layer, and then it answers otherwise."""
    plain, leaning = (built("unet", "resnet18", fraction) for fraction in (0.0, SLICE_STATISTICS))
    load_weights(leaning, weights_to_bytes(plain))
    for layer in (layer for layer in plain.layers if layer.weights):
        for one, two in zip(layer.get_weights(), leaning.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
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
