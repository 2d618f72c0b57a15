from dataclasses import replace

import numpy as np
import pytest

from tasks.core.errors import ModelError
from tasks.core.phantoms import phantom_scan
from tasks.core.predicting import predict_with_flips
from tasks.engine.prediction import Predictor
from tasks.io.bundles import Bundle, read_bundle
from tests.conftest import SIZE_PX, Trained

pytestmark = [pytest.mark.tf, pytest.mark.ray]


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
    backwards = predictor.predict(images[::-1])[::-1]
    alone = np.concatenate([predictor.predict(image[np.newaxis]) for image in images])
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
    assert predictor.predict(np.empty((0, SIZE_PX, SIZE_PX), np.uint8)).shape == (0, SIZE_PX, SIZE_PX)


def test_a_bundle_flips_as_it_says_or_as_it_is_asked(bundle: Bundle, images: np.ndarray) -> None:
    """The card's word, or the run's, decides between one look and the mean over mirror images."""
    plain, asked = (
        Predictor.from_bundle(bundle, precision="float32", batch_size=4, test_time_flips=flips)
        for flips in (False, True)
    )
    flipping = bundle.card.model_copy(update={"test_time_flips": True})
    by_card = Predictor(flipping, bundle.weights, precision="float32", batch_size=4)
    answer = asked.predict(images)
    np.testing.assert_array_equal(answer, by_card.predict(images))
    np.testing.assert_array_equal(answer, predict_with_flips(plain.predict, images))
    assert np.abs(answer.astype(int) - plain.predict(images)).max() > 2, "flips change nothing"
