"""Predictor: a loaded bundle, checked by its self-test, that predicts batches of a fixed size."""

import gc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from tasks.core.catalog import Precision
from tasks.core.errors import ModelError
from tasks.core.metrics import count_pixels, dice
from tasks.core.postprocess import threshold_probability
from tasks.core.schemas import ModelCard
from tasks.core.test_time_flips import predict_in_batches, predict_with_flips
from tasks.engine.network.model import build_model, load_weights, predict_probability
from tasks.engine.network.precision import set_precision
from tasks.io.outputs.bundles import Bundle, SelfTest

MIN_SELF_TEST_DICE = 0.995


class Predictor:
    """Loaded bundle that predicts probabilities, averaged over its networks and test-time flips.

    Calls go through one `tf.function` of a fixed signature: `model.predict` in a loop leaks, and every new shape would
    be compiled again. Probabilities of a slice do not depend on the other slices in its batch.
    """

    def __init__(self, card: ModelCard, weights: Sequence[bytes], *, precision: Precision, batch_size: int) -> None:
        self.precision = set_precision(precision)
        self._batch_size = batch_size
        self._flips = card.test_time_flips
        networks = [_loaded(card, content) for content in weights]
        signature = tf.TensorSpec((batch_size, card.input_size_px, card.input_size_px), tf.uint8)

        @tf.function(input_signature=[signature])  # type: ignore[untyped-decorator]  # TensorFlow ships no types
        def probability(images: tf.Tensor) -> tf.Tensor:
            predicted = [predict_probability(network, images) for network in networks]
            return tf.cast(tf.round(tf.add_n(predicted) / len(predicted) * 255.0), tf.uint8)

        self._probability = probability

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, *, precision: Precision, batch_size: int, test_time_flips: bool | None = None
    ) -> "Predictor":
        """Load a bundle, check it by its self-test, and set its test-time flips if requested.

        A reduced precision that auto has chosen and that fails the self-test is replaced by float32.

        Raises:
            ModelError: If the loaded model no longer predicts what it did when the bundle was made.
        """
        predictor, warning = cls(bundle.card, bundle.weights, precision=precision, batch_size=batch_size), ""
        try:
            predictor._check(bundle.self_test)
        except ModelError as err:
            if precision != "auto" or predictor.precision.precision == "float32":
                raise
            warning = f"{err} Computed in float32 instead."
        if warning:  # outside the handler, whose traceback would keep the first networks
            del predictor
            gc.collect()
            predictor = cls(bundle.card, bundle.weights, precision="float32", batch_size=batch_size)
            predictor._check(bundle.self_test)
            predictor.precision = replace(predictor.precision, warning=warning)
        if test_time_flips is not None:
            predictor._flips = test_time_flips
        return predictor

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the probabilities of each pixel.

        Args:
            images: uint8 `(N, size_px, size_px)`, any N.

        Returns:
            uint8 `(n_outputs, N, size_px, size_px)`, in units of 1/255; the lesion is the first output.
        """
        return predict_with_flips(self._predict_once, images) if self._flips else self._predict_once(images)

    def _predict_once(self, images: np.ndarray) -> np.ndarray:
        return predict_in_batches(lambda batch: self._probability(batch).numpy(), images, batch_size=self._batch_size)

    def _check(self, self_test: SelfTest) -> None:
        mask = threshold_probability(self.predict(self_test.image[np.newaxis])[0, 0], self_test.threshold)
        agreement = dice(count_pixels(mask, self_test.mask))
        if agreement is not None and agreement < MIN_SELF_TEST_DICE:
            raise ModelError(
                f"Self-test failed: the loaded model, {self.precision.reason}, agrees with its bundle's own mask to "
                f"Dice {agreement:.4f}, at least {MIN_SELF_TEST_DICE} was expected. Try precision float32; "
                "else train the bundle anew."
            )


def _loaded(card: ModelCard, content: bytes) -> tf.keras.Model:
    network = build_model(
        card.architecture,
        card.backbone,
        decoder_filters=card.decoder_filters,
        n_outputs=len(card.outputs),
        slice_statistics=card.slice_statistics,
    )
    load_weights(network, content)
    return network


def make_self_test(card: ModelCard, weights: Sequence[bytes], image: np.ndarray) -> SelfTest:
    """Return the self-test: what the networks together predict on a phantom, in float32.

    Args:
        card: Card of the bundle.
        weights: Weights of each network.
        image: uint8 `(size_px, size_px)`.
    """
    predictor = Predictor(card, weights, precision="float32", batch_size=1)
    return SelfTest.from_probability(image, predictor.predict(image[np.newaxis])[0, 0])
