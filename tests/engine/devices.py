"""Trains the same global batches on one device and on two logical ones: `python -m tests.engine.devices`, prints JSON.

A process of its own, because TensorFlow takes logical devices only before it does anything else.
"""

import json
import sys

import numpy as np
import tensorflow as tf

from tasks.core.learning import ModelConfig, TrainingConfig
from tasks.engine.learner import Learner
from tasks.engine.model import build_model, weights_to_bytes

SIZE_PX, BATCH_SIZE, N_STEPS = 32, 6, 3
MODEL = ModelConfig(backbone="resnet18", encoder_weights="none")


def batches() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return global batches, the last of them padded."""
    rng = np.random.default_rng(0)
    found = []
    for step in range(N_STEPS):
        images = rng.integers(0, 255, (BATCH_SIZE, SIZE_PX, SIZE_PX), np.uint8)
        weights = np.ones(BATCH_SIZE, np.float32)
        weights[BATCH_SIZE - step :] = 0
        found.append((images, (images > 128).astype(np.uint8), weights))
    return found


def learn(strategy: tf.distribute.Strategy, first_weights: bytes) -> tuple[list[np.ndarray], list[list[float]]]:
    """Return the weights and what each step said."""
    training = TrainingConfig(freeze_batchnorm=True)
    learner = Learner(MODEL, training, strategy, n_workers=1, first_weights=first_weights)
    said = [learner.step(*batch, learning_rate=1e-3) for batch in batches()]
    learner.gather()
    return learner.state()[0], [[loss, weight, *counts] for loss, weight, counts in said]


def main() -> None:
    """Compare one device and two."""
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.keras.utils.set_random_seed(0)
    first = weights_to_bytes(build_model(MODEL.architecture, MODEL.backbone))
    alone, said_alone = learn(tf.distribute.get_strategy(), first)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    both, said_both = learn(strategy, first)
    moved = max(float(np.abs(a - b).max()) for a, b in zip(alone, build_weights(first), strict=True))
    differences = [
        float(np.abs(one - two).max() / max(np.abs(one).max(), 1e-12)) for one, two in zip(alone, both, strict=True)
    ]
    found = {
        "n_replicas": strategy.num_replicas_in_sync,
        "worst": max(differences),
        "moved": moved,
        "said_alone": said_alone,
        "said_both": said_both,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def build_weights(content: bytes) -> list[np.ndarray]:
    """Return the weights in a file, in the network's order."""
    from tasks.engine.model import load_weights

    network = build_model(MODEL.architecture, MODEL.backbone)
    load_weights(network, content)
    return list(network.get_weights())


if __name__ == "__main__":
    main()
