"""Networks and encoders built once for all tests that look at them; whoever changes one builds their own."""

from functools import cache

import tensorflow as tf
from classification_models.tfkeras import Classifiers

from tasks.core import catalog
from tasks.engine.network import lite
from tasks.engine.network.model import build_model

SLICE_STATISTICS = 0.2
DECODER_FILTERS = 32
"""A narrow decoder, which is built and run faster."""


@cache
def built(
    architecture: catalog.Architecture, backbone: str, slice_statistics: float = SLICE_STATISTICS
) -> tf.keras.Model:
    """Return a network from random weights."""
    return build_model(architecture, backbone, decoder_filters=DECODER_FILTERS, slice_statistics=slice_statistics)


@cache
def encoder(backbone: str) -> tf.keras.Model:
    """Return an encoder as it is without a decoder, from random weights."""
    if backbone == lite.BACKBONE:
        return lite.build_encoder()
    build, _ = Classifiers.get(backbone)
    return build(input_shape=(None, None, 3), weights=None, include_top=False)
