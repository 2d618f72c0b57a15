import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tasks.core.config.learning import TrainingConfig
from tasks.core.labels import LUNG
from tasks.engine.network.model import ARCHITECTURES, build_model, predict_probability
from tasks.engine.training.trainer import Learner
from tests.engine.network.tiny import tiny
from tests.engine.training.devices import MODEL, N_OUTPUTS, N_STEPS, batches

pytestmark = pytest.mark.tf


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every network be a small one."""
    monkeypatch.setitem(ARCHITECTURES, MODEL.architecture, tiny)


def _learner(**training: object) -> Learner:
    tf.keras.utils.set_random_seed(0)
    config = TrainingConfig.model_validate(training)
    return Learner(MODEL, config, tf.distribute.get_strategy(), n_workers=1, n_outputs=N_OUTPUTS)


def test_two_devices_of_a_worker_learn_what_one_does() -> None:
    """The same global batches, padding included, give the same weights to 1e-4 on one device and on two.

    With BatchNorm live, whose mean and variance are taken over both, a step has the same loss; what Adam makes of the
    rounding in gradients that BatchNorm makes zero is not compared.
    """
    run = subprocess.run(
        [sys.executable, "-m", "tests.engine.training.devices"],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"TF_USE_LEGACY_KERAS": "1", "SM_FRAMEWORK": "tf.keras"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["n_replicas"] == 2
    for batchnorm in ("frozen", "live"):
        assert found[batchnorm]["moved"] > 1e-3, "nothing was learned"
    assert found["frozen"]["worst"] < 1e-4
    np.testing.assert_allclose(found["frozen"]["said_both"], found["frozen"]["said_alone"], rtol=1e-4)
    np.testing.assert_allclose(found["live"]["said_both"][0], found["live"]["said_alone"][0], rtol=1e-5)
    np.testing.assert_allclose(found["live"]["said_both"], found["live"]["said_alone"], rtol=0.02)


def test_a_restored_learner_goes_on_as_if_nothing_had_happened() -> None:
    """With weights and optimizer put back after a step, the next ones give the very weights of an undisturbed run."""
    undisturbed, later = _learner(), _learner()
    first, *rest = batches()
    undisturbed.step(*first, learning_rate=1e-3)
    later.restore(*undisturbed.state())
    for learner in (undisturbed, later):
        for batch in rest:
            learner.step(*batch, learning_rate=1e-3)
    for one, two in zip(undisturbed.state()[0], later.state()[0], strict=True):
        np.testing.assert_array_equal(one, two)


def test_padding_teaches_nothing() -> None:
    """A slice of weight 0 changes neither loss nor counts, whatever it shows; BatchNorm is frozen to see it alone."""
    images, labels, weights, has_lung = batches()[N_STEPS - 1]
    other = images.copy()
    other[weights == 0] = 255 - other[weights == 0]
    learner = _learner(freeze_batchnorm=True)
    state, said = learner.state(), []
    for shown in (images, other):
        learner.restore(*state)
        said.append(learner.step(shown, labels, weights, has_lung, learning_rate=1e-3))
    assert said[0] == said[1]
    assert said[0][1] == weights.sum()


def test_a_slice_without_a_lung_mask_teaches_nothing_of_lungs() -> None:
    """The lung bits count where they are known, by their weight, and nowhere else; lesions are counted alike."""
    images, labels, _, has_lung = batches()[0]
    learner = _learner(lung_weight=0.5)

    def loss(shown: np.ndarray, known: np.ndarray) -> np.ndarray:
        return learner.forward(images, shown, known)[0]

    nowhere = np.zeros_like(has_lung)
    np.testing.assert_array_equal(loss(labels, nowhere), loss(labels ^ LUNG, nowhere))
    more = loss(labels, has_lung) - loss(labels, nowhere)
    assert (more[has_lung] > 0).all()
    assert not more[~has_lung].any()
    twice = _learner(lung_weight=1.0)
    twice.restore(*learner.state())
    np.testing.assert_allclose(
        twice.forward(images, labels, has_lung)[0] - loss(labels, nowhere), 2 * more, rtol=1e-4, atol=1e-6
    )


def test_frozen_batchnorm_keeps_its_averages() -> None:
    """Frozen, a step leaves every average and weight of BatchNorm as it was; live, it moves them."""
    for is_frozen in (True, False):
        learner = _learner(freeze_batchnorm=is_frozen)
        layers = [layer for layer in learner.network.layers if isinstance(layer, tf.keras.layers.BatchNormalization)]
        before = [value.copy() for layer in layers for value in layer.get_weights()]
        learner.step(*batches()[0], learning_rate=1e-3)
        after = [value for layer in layers for value in layer.get_weights()]
        assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True)) == is_frozen


def test_validation_leans_on_slices_as_prediction_will() -> None:
    """What chooses epoch, threshold and flips is predicted as the bundle will predict."""
    images, labels, _, has_lung = batches()[0]
    learner = _learner()
    network = build_model(
        MODEL.architecture,
        MODEL.backbone,
        decoder_filters=MODEL.decoder_filters,
        n_outputs=N_OUTPUTS,
        slice_statistics=MODEL.slice_statistics,
    )
    network.set_weights(learner.plain.get_weights())
    _, seen = learner.forward(images, labels, has_lung)
    expected = np.rint(predict_probability(network, tf.constant(images)).numpy() * 255)
    assert np.abs(seen - expected).max() <= 1
    plain = build_model(MODEL.architecture, MODEL.backbone, decoder_filters=MODEL.decoder_filters, n_outputs=N_OUTPUTS)
    plain.set_weights(learner.plain.get_weights())
    assert np.abs(seen - predict_probability(plain, tf.constant(images)).numpy() * 255).max() > 1.5
