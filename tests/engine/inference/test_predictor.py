from dataclasses import replace

import numpy as np
import pytest
import segmentation_models as sm
import tensorflow as tf

from tasks.core.errors import ModelError
from tasks.core.phantoms import phantom_scan
from tasks.core.schemas import ModelCard
from tasks.engine.inference.predictor import Predictor
from tasks.engine.network.model import predict_probability, weights_to_bytes
from tasks.io.outputs.bundles import Bundle, SelfTest, read_bundle
from tests.conftest import MODEL, SIZE_PX, Trained
from tests.core.samples import MODEL as CARD

pytestmark = [pytest.mark.tf, pytest.mark.ray, pytest.mark.server]


@pytest.fixture(scope="module")
def bundle(trained: Trained) -> Bundle:
    """The trained bundle, loaded."""
    return read_bundle(trained.model_uri)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Eleven slices of a phantom, an odd number for a batch of four."""
    return phantom_scan(77, n_slices=11, size_px=SIZE_PX).image


def test_a_mask_does_not_depend_on_its_batch_mates(bundle: Bundle, images: np.ndarray) -> None:
    """A slice predicted alone, in company, or in another order gets the same probabilities."""
    predictor = Predictor.from_bundle(bundle, precision="float32", batch_size=4)
    together = predictor.predict(images)
    backwards = predictor.predict(images[::-1])[:, ::-1]
    alone = np.concatenate([predictor.predict(image[np.newaxis]) for image in images], axis=1)
    assert together.shape == (2, *images.shape)
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_array_equal(together, alone)


def test_a_bundle_that_predicts_something_else_is_refused(bundle: Bundle) -> None:
    """An actor whose model disagrees with the bundle's own mask does not start."""
    inverted = replace(bundle, self_test=replace(bundle.self_test, mask=1 - bundle.self_test.mask))
    with pytest.raises(ModelError, match="Self-test failed"):
        Predictor.from_bundle(inverted, precision="float32", batch_size=1)


def test_no_slices_give_no_probabilities(bundle: Bundle) -> None:
    """An empty batch is answered with an empty array."""
    predictor = Predictor(bundle.card, bundle.weights, precision="float32", batch_size=4)
    assert predictor.predict(np.empty((0, SIZE_PX, SIZE_PX), np.uint8)).shape == (2, 0, SIZE_PX, SIZE_PX)


def test_a_bundle_from_before_the_decoder_had_a_width_predicts_as_then(images: np.ndarray) -> None:
    """Its card names no width, its weights are of segmentation-models' own ResNet34 U-Net: the same probabilities."""
    network = sm.Unet("resnet34", encoder_weights=None, classes=1, activation="linear")
    content = CARD.model_dump(mode="json") | {"input_size_px": SIZE_PX}
    del content["decoder_filters"]
    card = ModelCard.model_validate(content)
    predictor = Predictor(card, [weights_to_bytes(network)], precision="float32", batch_size=len(images))
    expected = np.rint(predict_probability(network, tf.constant(images)).numpy() * 255)
    assert expected.std() > 0, "the same everywhere"
    assert np.abs(predictor.predict(images) - expected).max() <= 1


def test_a_bundle_leans_on_slices_as_its_card_says(bundle: Bundle, images: np.ndarray) -> None:
    """What it was trained with stands in the card and decides what it predicts."""
    assert bundle.card.slice_statistics == MODEL.slice_statistics > 0
    how = {"precision": "float32", "batch_size": 4}
    without = bundle.card.model_copy(update={"slice_statistics": 0.0})
    leaning, plain = (Predictor(card, bundle.weights, **how).predict(images) for card in (bundle.card, without))
    assert np.abs(leaning.astype(int) - plain).max() > 2, "leaning changes nothing"


def test_a_bundle_flips_as_it_says_unless_the_run_says_otherwise(bundle: Bundle, images: np.ndarray) -> None:
    """Its self-test holds in both cases: that is the bundle's own way."""
    how = {"precision": "float32", "batch_size": 4}
    plain, flipping = (bundle.card.model_copy(update={"test_time_flips": flips}) for flips in (False, True))
    once, again = (Predictor(card, bundle.weights, **how) for card in (plain, flipping))
    assert np.abs(once.predict(images).astype(int) - again.predict(images)).max() > 2, "flips change nothing"
    seen = again.predict(bundle.self_test.image[np.newaxis])[0, 0]
    flipping_bundle = Bundle(flipping, bundle.weights, SelfTest.from_probability(bundle.self_test.image, seen))
    for word, expected in ((None, again), (False, once)):
        found = Predictor.from_bundle(flipping_bundle, test_time_flips=word, **how).predict(images)
        np.testing.assert_array_equal(found, expected.predict(images))


def test_auto_falls_back_to_float32(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the precision that auto chose fails the self-test, float32 is computed instead, and a warning says so."""
    original, precisions = Predictor._check, []

    def check(self: Predictor, self_test: SelfTest) -> None:
        precisions.append(self.precision.precision)
        if self.precision.precision != "float32":
            raise ModelError("Self-test failed.")
        original(self, self_test)

    monkeypatch.setattr(Predictor, "_check", check)
    monkeypatch.setattr("tasks.engine.network.precision.cpu_flags", lambda: {"amx_bf16"})
    predictor = Predictor.from_bundle(bundle, precision="auto", batch_size=1)
    assert precisions == ["bfloat16", "float32"]
    assert predictor.precision.warning == "Self-test failed. Computed in float32 instead."
    with pytest.raises(ModelError):
        Predictor.from_bundle(bundle, precision="bfloat16", batch_size=1)
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": False})
