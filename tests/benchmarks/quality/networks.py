"""Training and prediction with the product's own parts, in one process and without Ray."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import local

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tasks.core.augment import augment_slice, augmentation_seed, build_augmentation
from tasks.core.labels import pack_labels
from tasks.core.landmarks import apply_rule
from tasks.core.learning_rate import warmup_cosine
from tasks.core.test_time_flips import predict_in_batches
from tasks.engine.network.precision import set_precision
from tasks.engine.training.epoch_plan import n_epochs_of, plan_training
from tasks.engine.training.trainer import Learner
from tasks.io.pretrained_weights import read_encoder_weights
from tests.benchmarks.quality.collection import Slices
from tests.benchmarks.quality.recipes import Recipe
from tests.benchmarks.quality.views import cropped, predict_cropped

N_THREADS = 2
BATCHES_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Trained:
    """Trained network.

    Attributes:
        learner: The network.
        recipe: Its recipe.
        slices_per_second: Speed of its training.
        loss: Mean training loss of its last epoch.
    """

    learner: Learner
    recipe: Recipe
    slices_per_second: float
    loss: float

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the probabilities of slices, uint8 `(n_outputs, N, 256, 256)`, in units of 1/255."""
        return predict_cropped(self._predict, images) if self.recipe.is_cropped else self._predict(images)

    def _predict(self, images: np.ndarray) -> np.ndarray:
        ready = apply_rule(images, self.recipe.model.intensity_rule)
        return predict_in_batches(self.learner.predict, ready, batch_size=self.recipe.training.batch_size)


def train(slices: Slices, recipe: Recipe) -> Trained:
    """Train a network of a recipe; its last epoch is kept, as in a cross-validation."""
    training = recipe.training
    tf.keras.backend.clear_session()
    training = training.model_copy(update={"precision": set_precision(training.precision).precision})
    tf.keras.utils.set_random_seed(training.seed)
    learner = Learner(
        recipe.model,
        training,
        tf.distribute.get_strategy(),
        n_workers=1,
        n_outputs=2 if training.lung_weight else 1,
        encoder_weights=read_encoder_weights(recipe.model),
    )
    index = _index(slices)
    plan = plan_training(
        index,
        epochs=range(n_epochs_of(index, training)),
        batch_size=training.batch_size,
        lesion_free_fraction=training.lesion_free_fraction,
        seed=training.seed,
    )
    if recipe.is_cropped:
        slices = cropped(slices)
    images = apply_rule(slices.images, recipe.model.intensity_rule)
    labels = pack_labels(slices.masks, slices.lungs)
    n_steps = len(plan.table) // training.batch_size
    losses, started = [], 0.0
    for step, batch in enumerate(_batches(images, labels, plan.table, recipe)):
        rate = warmup_cosine(step, n_steps=n_steps, steps_per_epoch=plan.steps_per_epoch, peak=training.learning_rate)
        loss, weight, _ = learner.step(*batch, learning_rate=rate)
        losses.append(loss / weight)
        started = started or time.perf_counter()  # after the first step, which compiles
    speed = (n_steps - 1) * training.batch_size / (time.perf_counter() - started)
    return Trained(learner, recipe, round(speed, 2), float(np.mean(losses[-plan.steps_per_epoch :])))


def _index(slices: Slices) -> pa.Table:
    return pa.table(
        {
            "row": np.arange(len(slices), dtype=np.int32),
            "case_id": [each.case_id for each in slices.identities],
            "slice_index": [each.slice_index for each in slices.identities],
            "has_lung": slices.has_lung,
            "has_lesion": slices.masks.any(axis=(1, 2)),
        }
    )


def _batches(
    images: np.ndarray, labels: np.ndarray, plan: pa.Table, recipe: Recipe
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield images, labels, weights and has_lung of each global batch, augmented a few batches ahead."""
    size, seed, own = recipe.training.batch_size, recipe.training.seed, local()

    def draw(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        if not hasattr(own, "augmentation"):  # its random state is one thread's
            own.augmentation = build_augmentation(recipe.augment)
        rows = plan.slice(start, size).to_pylist()
        changed = [
            augment_slice(
                own.augmentation,
                images[row["row"]],
                labels[row["row"]],
                seed=augmentation_seed(seed, row["epoch"], row["case_id"], row["slice_index"]),
            )
            for row in rows
        ]
        weights = np.array([row["weight"] for row in rows], np.float32)
        has_lung = np.array([row["has_lung"] for row in rows])
        return np.stack([image for image, _ in changed]), np.stack([moved for _, moved in changed]), weights, has_lung

    starts = range(0, len(plan), size)
    with ThreadPoolExecutor(N_THREADS) as pool:
        waiting = [pool.submit(draw, start) for start in starts[:BATCHES_AHEAD]]
        for number in range(len(starts)):
            yield waiting.pop(0).result()
            if number + BATCHES_AHEAD < len(starts):
                waiting.append(pool.submit(draw, starts[number + BATCHES_AHEAD]))
