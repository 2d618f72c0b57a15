"""Trains the same batches on one device and on two logical ones: `python -m tests.engine.training.devices` prints JSON.

A process of its own, because TensorFlow takes logical devices only before it does anything else. The network is small:
what is compared are the steps, not the layers.
"""

import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf

from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.labels import pack_labels
from tasks.engine.network.model import ARCHITECTURES, build_model, load_weights, weights_to_bytes
from tasks.engine.training.trainer import Learner
from tests.engine.network.tiny import tiny

SIZE_PX, BATCH_SIZE, N_STEPS, N_OUTPUTS = 32, 6, 3, 2
MODEL = ModelConfig(backbone="resnet18", encoder_weights="none")


def batches() -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Return global batches: images, labels, weights and has_lung; the last of them is padded."""
    rng = np.random.default_rng(0)
    found = []
    for step in range(N_STEPS):
        images = rng.integers(0, 255, (BATCH_SIZE, SIZE_PX, SIZE_PX), np.uint8)
        weights = np.ones(BATCH_SIZE, np.float32)
        weights[BATCH_SIZE - step :] = 0
        labels = pack_labels((images > 128).astype(np.uint8), (images > 64).astype(np.uint8))
        found.append((images, labels, weights, np.arange(BATCH_SIZE) % 2 == 0))
    return found


def learn(
    strategy: tf.distribute.Strategy, first_weights: bytes, *, freeze_batchnorm: bool
) -> tuple[list[np.ndarray], list[list[float]]]:
    """Return the weights but for BatchNorm's averages, and what each step said."""
    training = TrainingConfig(freeze_batchnorm=freeze_batchnorm)
    learner = Learner(MODEL, training, strategy, n_workers=1, n_outputs=N_OUTPUTS, first_weights=first_weights)
    said = [learner.step(*batch, learning_rate=1e-3) for batch in batches()]
    learner.gather()
    trained = [variable.numpy() for variable in learner.plain.trainable_variables]
    return trained, [[loss, weight, *counts] for loss, weight, counts in said]


def compare(strategy: tf.distribute.Strategy, first: bytes, *, freeze_batchnorm: bool) -> dict[str, Any]:  # Any: JSON
    """Return how far two devices end from one, by layer and in norm, and what each said of its steps."""
    alone, said_alone = learn(tf.distribute.get_strategy(), first, freeze_batchnorm=freeze_batchnorm)
    both, said_both = learn(strategy, first, freeze_batchnorm=freeze_batchnorm)
    network = _network()
    load_weights(network, first)
    if freeze_batchnorm:
        for layer in network.layers:
            layer.trainable = not isinstance(layer, tf.keras.layers.BatchNormalization)
    before = [variable.numpy() for variable in network.trainable_variables]
    return {
        "worst": max(_distance(one, two) for one, two in zip(alone, both, strict=True)),
        "moved": max(float(np.abs(one - was).max()) for one, was in zip(alone, before, strict=True)),
        "said_alone": said_alone,
        "said_both": said_both,
    }


def _network() -> tf.keras.Model:
    return build_model(MODEL.architecture, MODEL.backbone, decoder_filters=MODEL.decoder_filters, n_outputs=N_OUTPUTS)


def _distance(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.linalg.norm(one - two) / max(np.linalg.norm(one), 1e-12))


def main() -> None:
    """Compare one device and two, with BatchNorm frozen and with it live."""
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    ARCHITECTURES[MODEL.architecture] = tiny
    tf.keras.utils.set_random_seed(0)
    first = weights_to_bytes(_network())
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    found = {
        "n_replicas": strategy.num_replicas_in_sync,
        "frozen": compare(strategy, first, freeze_batchnorm=True),
        "live": compare(strategy, first, freeze_batchnorm=False),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
