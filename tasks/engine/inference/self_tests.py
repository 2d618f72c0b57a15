"""Self-tests of a bundle, made in a Ray worker, which loads TensorFlow."""

from collections.abc import Sequence

import numpy as np
import ray

from tasks.core.phantoms import phantom_scan
from tasks.core.schemas import ModelCard
from tasks.io.outputs import bundles


def make_self_tests(card: ModelCard, weights: Sequence[bytes]) -> dict[str, bytes]:
    """Return the self-test of a bundle, and of each network of an ensemble, by path in the bundle.

    Args:
        card: Card of the bundle.
        weights: Content of each network's weight file.
    """
    phantom = phantom_scan(0, n_slices=3, size_px=card.input_size_px).image[1]
    networks = {bundles.SELF_TEST_FILE: (card, tuple(weights))}
    networks |= {m.self_test_file: (card.alone(i), (weights[i],)) for i, m in enumerate(card.members)}
    return ray.get(_make_self_tests.remote(networks, phantom))


@ray.remote
def _make_self_tests(networks: dict[str, tuple[ModelCard, tuple[bytes, ...]]], phantom: np.ndarray) -> dict[str, bytes]:
    """Return every self-test, one after the other: a process each would load TensorFlow once per network."""
    from tasks.engine.inference.predictor import make_self_test  # loads TensorFlow, here in the worker

    return {path: make_self_test(card, weights, phantom).to_bytes() for path, (card, weights) in networks.items()}
