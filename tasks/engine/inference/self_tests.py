"""Self-tests of a bundle, made in Ray workers, which load TensorFlow."""

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
    tasks = {bundles.SELF_TEST_FILE: _make_self_test.remote(card, weights, phantom)}
    for index, member in enumerate(card.members):
        tasks[member.self_test_file] = _make_self_test.remote(card.alone(index), (weights[index],), phantom)
    return {path: made.to_bytes() for path, made in zip(tasks, ray.get([*tasks.values()]), strict=True)}


@ray.remote
def _make_self_test(card: ModelCard, weights: Sequence[bytes], phantom: np.ndarray) -> bundles.SelfTest:
    from tasks.engine.inference.predictor import make_self_test  # loads TensorFlow, here in the worker

    return make_self_test(card, weights, phantom)
