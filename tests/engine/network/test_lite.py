import io

import h5py
import matplotlib.cbook
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tasks.core.catalog import BACKBONES
from tasks.core.config.learning import ModelConfig
from tasks.core.errors import ModelError
from tasks.engine.network import lite, model
from tasks.engine.network.batchnorm import DECODER_PREFIXES
from tasks.io.pretrained_weights import read_encoder_weights, read_wheel_file
from tasks.io.torch_weights import read_state_dict
from tests.engine.network.networks import DECODER_FILTERS, encoder

pytestmark = pytest.mark.tf

MILITARY_UNIFORM = 652
"""Class of ImageNet that the photograph of Grace Hopper shows."""


@pytest.fixture(scope="module")
def imagenet() -> tf.keras.Model:
    """A network whose encoder has the ImageNet weights."""
    content = read_encoder_weights(ModelConfig(backbone=lite.BACKBONE))
    return model.build_model("unet", lite.BACKBONE, decoder_filters=DECODER_FILTERS, encoder_weights=content)


def _photograph(size_px: int = 224) -> np.ndarray:
    """Return a photograph, float32 `(1, size_px, size_px, 3)` in [0, 1], cut to its middle."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        image = Image.open(file).convert("RGB")
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    cut = image.crop((left, top, left + side, top + side)).resize((size_px, size_px), Image.Resampling.BICUBIC)
    return np.asarray(cut, np.float32)[np.newaxis] / 255


def _classify(features: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    """Return the probability of each class, from the encoder's features `(1, H, W, 320)`, by the head of the wheel."""
    head = features @ state["_conv_head.weight"][:, :, 0, 0].T
    scale = state["_bn1.weight"] / np.sqrt(state["_bn1.running_var"] + lite.EPSILON)
    head = np.clip((head - state["_bn1.running_mean"]) * scale + state["_bn1.bias"], 0, 6).mean(axis=(0, 1, 2))
    logits = state["_fc.weight"] @ head + state["_fc.bias"]
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


def test_the_encoder_knows_what_a_photograph_shows(imagenet: tf.keras.Model) -> None:
    """With the head it was trained with, it names the class: layers, padding, scaling and every weight are right."""
    features = tf.keras.Model(imagenet.input, imagenet.get_layer("blocks.15.bn2").output)(_photograph()).numpy()
    probability = _classify(features, read_state_dict(read_wheel_file(BACKBONES[lite.BACKBONE].weights)))
    assert probability.argmax() == MILITARY_UNIFORM
    assert probability[MILITARY_UNIFORM] > 0.3


def test_every_weight_of_the_encoder_comes_from_the_file(imagenet: tf.keras.Model) -> None:
    """No layer keeps random weights or first averages, and no layer of the file is left over."""
    content = read_encoder_weights(ModelConfig(backbone=lite.BACKBONE))
    layers = [layer.name for layer in encoder(lite.BACKBONE).layers if layer.weights]
    with h5py.File(io.BytesIO(content)) as file:
        assert sorted(file) == sorted(layers)
        for name in layers:
            stored = [file[name][weight][()] for weight in file[name].attrs["weight_names"]]
            for one, two in zip(imagenet.get_layer(name).get_weights(), stored, strict=True):
                np.testing.assert_array_equal(one, two)


def test_layers_are_not_taken_for_those_of_a_decoder() -> None:
    """Their names have none of the prefixes by which layers of a decoder are known."""
    assert not [layer.name for layer in encoder(lite.BACKBONE).layers if layer.name.startswith(DECODER_PREFIXES)]


def test_skips_have_the_resolutions_a_decoder_needs() -> None:
    """At 1/16, 1/8, 1/4 and 1/2 of the input, each the last layer of its resolution; the output is at 1/32."""
    built = lite.build_encoder()
    skips = tf.keras.Model(built.input, [*(built.get_layer(name).output for name in lite.SKIPS), built.output])
    shapes = [tuple(found.shape) for found in skips(np.zeros((1, 64, 96, 3), np.float32))]
    assert shapes == [(1, 4, 6, 112), (1, 8, 12, 40), (1, 16, 24, 24), (1, 32, 48, 16), (1, 2, 3, 320)]


def test_random_weights_differ_from_layer_to_layer() -> None:
    """No two layers of one shape draw the same numbers, as they would from a shared initialiser."""
    built = lite.build_encoder()
    one, two = (built.get_layer(f"blocks.{index}.project_conv").get_weights()[0] for index in (12, 13))
    assert one.shape == two.shape
    assert not np.allclose(one, two)


def test_weights_of_another_backbone_are_refused() -> None:
    """The file of EfficientNet-Lite0 does not fit a ResNet, and is refused by the layers it names."""
    content = read_encoder_weights(ModelConfig(backbone=lite.BACKBONE))
    with pytest.raises(ModelError, match="resnet18 does not have"):
        model.build_model("unet", "resnet18", decoder_filters=DECODER_FILTERS, encoder_weights=content)
