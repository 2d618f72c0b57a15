"""The bundle of a network that learned for a few steps in this process: what tests need that start no training."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tasks.core.catalog import Output
from tasks.core.labels import pack_labels
from tasks.core.phantoms import phantom_scan
from tasks.core.pictures.figures import training_curves
from tasks.core.schemas import WEIGHTS_FILE
from tasks.engine.inference.predictor import make_self_test
from tasks.engine.network.model import weights_to_bytes
from tasks.engine.training.trainer import Learner
from tasks.io.outputs import bundles, datasets
from tests.conftest import MODEL, SIZE_PX, TRAINING
from tests.core.samples import MODEL as CARD
from tests.engine.bright_bundle import HISTORY

N_STEPS = 12
OUTPUTS: tuple[Output, ...] = ("lesion", "lung")


def publish_learned_bundle(folder: Path, dataset_uri: str) -> str:
    """Train a network on one batch of phantoms, publish its bundle, and return the bundle's URI.

    Args:
        folder: Where it goes.
        dataset_uri: Dataset that its card names.
    """
    tf.keras.utils.set_random_seed(0)
    learner = Learner(MODEL, TRAINING, tf.distribute.get_strategy(), n_workers=1, n_outputs=len(OUTPUTS))
    scan = phantom_scan(3, n_slices=TRAINING.batch_size, size_px=SIZE_PX)
    labels, n_slices = pack_labels(scan.mask, scan.lung), len(scan.image)
    for _ in range(N_STEPS):
        learner.step(scan.image, labels, np.ones(n_slices, np.float32), np.ones(n_slices, bool), learning_rate=1e-3)
    weights = weights_to_bytes(learner.plain)
    dataset = datasets.read_card(dataset_uri)
    card = CARD.model_copy(
        update={
            "backbone": MODEL.backbone,
            "outputs": OUTPUTS,
            "intensity_rule": MODEL.intensity_rule,
            "decoder_filters": MODEL.decoder_filters,
            "input_size_px": SIZE_PX,
            "model": MODEL,
            "training": TRAINING,
            "slice_statistics": MODEL.slice_statistics,
            "threshold": 0.5,
            "dataset_uri": dataset_uri,
            "dataset_fingerprint": dataset.fingerprint,
        }
    )
    files = {f"{bundles.CURVES_FOLDER}/{name}.png": png for name, png in training_curves(HISTORY).items()}
    files |= {
        WEIGHTS_FILE: weights,
        bundles.SELF_TEST_FILE: make_self_test(card, (weights,), scan.image[4]).to_bytes(),
    }
    uri = folder.as_uri()
    bundles.publish_card(uri, card.model_copy(update={"files": bundles.publish_files(uri, files)}))
    return uri
