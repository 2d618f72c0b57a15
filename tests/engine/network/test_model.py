import io
from pathlib import Path

import h5py
import numpy as np
import pytest
import segmentation_models as sm
import tensorflow as tf

from tasks.core import catalog
from tasks.core.catalog import Precision
from tasks.core.errors import ModelError
from tasks.engine.network import lite, model, precision
from tests.engine.network.networks import DECODER_FILTERS, built, encoder

pytestmark = pytest.mark.tf


def _picture(size_px: int = 64) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).integers(0, 255, (2, size_px, size_px), np.uint8))


def test_registry_holds_every_architecture_a_form_offers() -> None:
    """What can be chosen can be built, and the other way round."""
    assert set(model.ARCHITECTURES) == set(catalog.ARCHITECTURES)


@pytest.mark.parametrize("architecture", catalog.ARCHITECTURES)
def test_architecture_gives_a_float32_logit_a_pixel(architecture: catalog.Architecture) -> None:
    """Every architecture turns a square slice into a logit for each of its pixels."""
    logits = built(architecture, "resnet18")(model.to_input(_picture()), training=False)
    assert logits.shape == (2, 64, 64, 1)
    assert logits.dtype == tf.float32


@pytest.mark.parametrize("backbone", catalog.BACKBONES)
def test_backbone_builds(backbone: str) -> None:
    """Every backbone of the catalogue is known to segmentation-models, and larger than what a decoder has alone."""
    assert built("unet", backbone).count_params() > 1_000_000


@pytest.mark.parametrize("architecture", catalog.ARCHITECTURES)
def test_an_encoder_of_ours_takes_every_decoder(architecture: catalog.Architecture) -> None:
    """The decoders of segmentation-models stand on layers they do not know, and give a logit for each pixel."""
    logits = built(architecture, lite.BACKBONE)(model.to_input(_picture()), training=False)
    assert logits.shape == (2, 64, 64, 1)
    assert logits.dtype == tf.float32


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (256, (256, 128, 64, 32, 16)),
        (128, (128, 64, 32, 16, 16)),
        (16, (16, 16, 16, 16, 16)),
        (48, (48, 24, 16, 16, 16)),
    ],
)
def test_a_decoder_is_halved_block_by_block(first: int, expected: tuple[int, ...]) -> None:
    """From the first block's filters down to 16; 256 gives the decoder that segmentation-models has by itself."""
    assert model.block_filters(first) == expected


@pytest.mark.parametrize("architecture", catalog.ARCHITECTURES)
def test_width_of_256_is_the_network_of_segmentation_models(architecture: catalog.Architecture) -> None:
    """Weights of bundles from before the decoder had a width fit, which they do only if every layer is as it was."""
    build = {"unet": sm.Unet, "linknet": sm.Linknet, "fpn": sm.FPN}[architecture]
    plain = build("resnet18", encoder_weights=None, classes=1, activation="linear")
    ours = model.build_model(architecture, "resnet18", decoder_filters=256)
    assert [weight.shape for weight in ours.get_weights()] == [weight.shape for weight in plain.get_weights()]


@pytest.mark.parametrize("architecture", ["unet", "fpn"])
def test_width_makes_a_decoder_narrower(architecture: catalog.Architecture) -> None:
    """Half the filters are fewer weights, and the encoder stays."""
    narrow, wide = (model.build_model(architecture, "resnet18", decoder_filters=width) for width in (32, 64))
    assert narrow.count_params() < wide.count_params()
    with pytest.raises(ModelError, match="do not fit"):
        model.load_weights(narrow, model.weights_to_bytes(wide))


def test_weights_survive_a_round_trip() -> None:
    """A network with loaded weights gives the very logits of the one they came from."""
    one, two = built("unet", "resnet18", 0.0), model.build_model("unet", "resnet18", decoder_filters=DECODER_FILTERS)
    picture = model.to_input(_picture())
    assert not np.allclose(one(picture), two(picture))
    model.load_weights(two, model.weights_to_bytes(one))
    np.testing.assert_array_equal(one(picture), two(picture))


def test_weights_of_another_network_are_refused() -> None:
    """Weights that do not fit give a ModelError, not a half-loaded network."""
    content = model.weights_to_bytes(built("unet", "resnet18"))
    with pytest.raises(ModelError, match="do not fit"):
        model.load_weights(built("unet", "resnet34"), content)


def _encoder_file(backbone: str, folder: Path, *, mean: float = 0.0, variance: float = 1.0) -> bytes:
    """Return a file of the same shape as the published encoder weights, with random content.

    Args:
        backbone: Which encoder.
        folder: Where there is room for it.
        mean: Average of the images it was trained on.
        variance: Of these images.
    """
    found = encoder(backbone)
    averages = found.get_layer(model.INPUT_BATCHNORM)
    averages.set_weights([np.zeros(3), np.full(3, mean), np.full(3, variance)])
    path = folder / f"{backbone}.h5"
    found.save_weights(path)
    return path.read_bytes()


def _on_resnet18(encoder_weights: bytes) -> tf.keras.Model:
    return model.build_model("unet", "resnet18", decoder_filters=DECODER_FILTERS, encoder_weights=encoder_weights)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> list[tf.keras.Model]:
    """Two networks from one encoder that learned from images of 0 to 255, or of 0 to 1."""
    folder = tmp_path_factory.mktemp("encoders")
    contents = [
        _encoder_file("resnet18", folder, mean=mean, variance=variance)
        for mean, variance in ((120.0, 4000.0), (0.47, 0.0615))
    ]
    return [_on_resnet18(content) for content in contents]


def test_encoder_weights_are_taken_over(pretrained: list[tf.keras.Model]) -> None:
    """Two networks from one encoder's weights share them and differ in their decoder."""
    one, two = pretrained
    expected = encoder("resnet18").get_layer("conv0").get_weights()[0]
    for network in pretrained:
        np.testing.assert_array_equal(network.get_layer("conv0").get_weights()[0], expected)
    decoder = "decoder_stage0a_conv"
    assert not np.allclose(one.get_layer(decoder).get_weights()[0], two.get_layer(decoder).get_weights()[0])


def test_pretrained_averages_fit_the_scale_of_the_input(pretrained: list[tf.keras.Model]) -> None:
    """Whether an encoder learned from images of 0 to 255 or of 0 to 1, a usual image is near zero behind its door."""
    image = np.random.default_rng(0).normal(120, 63, (1, 32, 32)).clip(0, 255).astype(np.uint8)
    for network in pretrained:
        seen = network.get_layer(model.INPUT_BATCHNORM)(model.to_input(image), training=False).numpy()
        assert abs(seen.mean()) < 0.1
        assert 0.8 < seen.std() < 1.2


def test_encoder_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    """The file of a deeper encoder names layers this one lacks, and is refused by name."""
    with pytest.raises(ModelError, match="resnet18 does not have"):
        _on_resnet18(_encoder_file("resnet34", tmp_path))


@pytest.mark.parametrize("content", [b"", b"not a weight file"])
def test_encoder_file_that_is_no_hdf5_is_refused(content: bytes) -> None:
    """A file of another kind gives one clear sentence."""
    with pytest.raises(ModelError, match="not an HDF5 file"):
        _on_resnet18(content)


def test_encoder_file_without_layers_is_refused() -> None:
    """An HDF5 file that holds nothing is not taken for weights."""
    buffer = io.BytesIO()
    h5py.File(buffer, "w").close()
    with pytest.raises(ModelError, match="hold 0 layers"):
        _on_resnet18(buffer.getvalue())


@pytest.mark.parametrize("is_pretrained", [False, True])
def test_moving_averages_follow_within_a_few_dozen_steps(
    pretrained: list[tf.keras.Model], *, is_pretrained: bool
) -> None:
    """After three dozen batches less than 5 % of an average is where it began, in every layer.

    Of a pretrained encoder's network, too: its decoder begins at random.
    """
    network = pretrained[0] if is_pretrained else built("unet", "resnet18")
    layers = [layer for layer in network.layers if isinstance(layer, tf.keras.layers.BatchNormalization)]
    assert len(layers) > 20
    assert {layer.name for layer in layers if layer.momentum**36 >= 0.05} == set()


def test_float16_without_a_gpu_is_refused() -> None:
    """Half precision on a CPU is refused with what to do instead."""
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match="auto, bfloat16 or float32"):
        precision.set_precision("float16")


def test_gradients_of_depthwise_kernels_stay_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside bfloat16 on a CPU the gradient of a depthwise kernel is, bit by bit, the one of float32."""
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    for name in precision.FLOAT32_ON_CPUS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # and is as before afterwards
    image, kernel = tf.random.normal((2, 16, 16, 32), seed=0), tf.random.normal((5, 5, 32, 1), seed=1)

    def gradient(asked: Precision) -> np.ndarray:
        precision.set_precision(asked)

        @tf.function
        def step() -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                convolved = tf.nn.depthwise_conv2d(image, kernel, [1, 1, 1, 1], "SAME")
                # Linear, so that the gradient does not depend on the precision of what was convolved.
                loss = tf.reduce_sum(convolved * image)
            return tape.gradient(loss, kernel)

        return step().numpy()

    try:
        assert np.array_equal(gradient("bfloat16"), gradient("float32"))
    finally:
        precision.set_precision("float32")
