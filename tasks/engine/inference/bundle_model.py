"""Loading of a bundle's model in an actor."""

from typing import Protocol

from tasks.core.catalog import Precision
from tasks.engine.cluster.garbage import uncollected
from tasks.engine.inference.model_pool import Model

BATCH_SIZE = 16
"""Slices per forward pass; no other size was measured."""


class LoadModel(Protocol):
    """Function that loads the model of a bundle in an actor."""

    def __call__(
        self, model_uri: str, precision: Precision, member: int | None = None, *, test_time_flips: bool | None = None
    ) -> Model:
        """Return the model, as `load_predictor` does."""


def load_predictor(
    model_uri: str, precision: Precision, member: int | None = None, *, test_time_flips: bool | None = None
) -> Model:
    """Return the predictor of a bundle, checked by its self-test; called in an actor.

    Args:
        model_uri: URI of the bundle.
        precision: Floating-point type.
        member: Index of one network of an ensemble; None = all networks.
        test_time_flips: Whether to use test-time flips; None = as in the bundle.

    Raises:
        ModelError: If the bundle is damaged, or fails its self-test.
    """
    with uncollected():
        from tasks.engine.inference.predictor import Predictor
        from tasks.engine.network.model import share_cores  # loads TensorFlow, here in the actor
        from tasks.io.outputs.bundles import read_bundle, read_member

        share_cores()
        bundle = read_bundle(model_uri) if member is None else read_member(model_uri, member)
        return Predictor.from_bundle(
            bundle, precision=precision, batch_size=BATCH_SIZE, test_time_flips=test_time_flips
        )
