"""What lifts the Dice of unseen patients? Each lever against the same baseline, at equal cost, patient by patient.

`python -m tests.benchmarks.levers OUT.jsonl [NAME ...]`: small slices, two folds by patient, every second slice of the
large source, random weights, the same number of slices for all, threshold 0.5, no epoch chosen. A line a lever and
patient is added to OUT as it comes; what is there already is not done again. Read with `... OUT.jsonl --table`.
"""

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.core.augment import augment_slice, augmentation_seed, build_augmentation
from tasks.core.config.groups import PreparationConfig
from tasks.core.config.learning import AugmentConfig
from tasks.core.learning_rate import warmup_cosine
from tasks.core.metrics import Counts, bootstrap_interval, count_pixels, dice
from tasks.core.splits import fold_patients
from tasks.engine.cluster.session import WORKER_ENVIRONMENT
from tasks.io.outputs.datasets import SliceRow
from tasks.io.sources import discover_source
from tasks.stages.labelled_pairs import preprocess_pair

DATA = Path(os.environ.get("LESIONS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
SIZE_PX, N_FOLDS, N_SLICES, LEARNING_RATE = 128, 2, 260 * 16, 1e-3
THINNED = {"coronacases": 2}
"""Every how manieth slice of a source is taken."""


BEFORE = AugmentConfig(rotate_degrees=20, shear_degrees=5, zoom=0.15, shift=0.1, brightness=0.2, contrast=0.2)
WEAKER = AugmentConfig(rotate_degrees=10, shear_degrees=0, zoom=0.1, shift=0.05, brightness=0.1, contrast=0.1)
STRONGER = BEFORE.model_copy(update={"brightness": 0.3, "contrast": 0.3})


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training: the baseline is what the product did before."""

    augment: AugmentConfig = BEFORE
    lesion_free_fraction: float = 0.25
    balanced: bool = False
    batch_size: int = 16
    ema: float | None = None
    batchnorm_momentum: float = 0.9
    clahe: float = 0.0
    gamma: float = 0.0


BASE = Recipe()
LEVERS: dict[str, Recipe] = {
    "baseline": BASE,
    "clahe": replace(BASE, clahe=0.5),
    "balanced sources": replace(BASE, balanced=True),
    "ema of weights": replace(BASE, ema=0.98),
    "gamma, stronger brightness": replace(BASE, gamma=0.4, augment=STRONGER),
    "weaker augmentation": replace(BASE, augment=WEAKER),
    "fewer lesion-free": replace(BASE, lesion_free_fraction=0.1),
    "more lesion-free": replace(BASE, lesion_free_fraction=0.6),
    "slower BatchNorm averages": replace(BASE, batchnorm_momentum=0.98),
    "smaller batches, more steps": replace(BASE, batch_size=8),
    "smaller batches, weaker augmentation": replace(BASE, batch_size=8, augment=WEAKER),
}


def load() -> list[SliceRow]:
    """Return the slices of both sources, thinned, at the screening's size."""
    preparation = PreparationConfig(size_px=SIZE_PX)
    pairs = []
    for name in ("coronacases_256", "radiopaedia_256"):
        found = discover_source(f"file://{DATA / name}").pairs
        pairs += found[:: THINNED.get(found[0].source, 1)]
    return [row for pair in pairs for row in preprocess_pair(pair, preparation)]


def order(rows: list[SliceRow], recipe: Recipe) -> Iterator[tuple[int, SliceRow]]:
    """Yield (epoch, slice) as often as the screening has slices, in an order of its own each epoch."""
    rng, epoch = np.random.default_rng(0), 0
    lesion = [row for row in rows if row["mask"].any()]
    free = [row for row in rows if not row["mask"].any()]
    by_source: dict[str, list[SliceRow]] = defaultdict(list)
    for row in lesion:
        by_source[row["source"]].append(row)
    n_left = N_SLICES
    while n_left:
        drawn = list(lesion)
        if recipe.balanced:
            share = len(lesion) // len(by_source)
            drawn = [rows[i] for rows in by_source.values() for i in rng.integers(len(rows), size=share)]
        drawn += [free[i] for i in rng.permutation(len(free))[: round(recipe.lesion_free_fraction * len(free))]]
        for place in rng.permutation(len(drawn))[:n_left]:
            yield epoch, drawn[place]
        n_left -= min(n_left, len(drawn))
        epoch += 1


def transform(recipe: Recipe) -> Any:  # Any: albumentations' Compose
    """Return the product's augmentation with what the recipe adds to it."""
    import albumentations as A  # noqa: N812

    own = build_augmentation(recipe.augment)
    further = [A.CLAHE(clip_limit=(1, 4), p=recipe.clahe)] if recipe.clahe else []
    if recipe.gamma:
        further.append(A.RandomGamma((100 - 100 * recipe.gamma, 100 + 100 * recipe.gamma), p=0.5))
    return A.Compose([*own.transforms, *further])


def train(rows: list[SliceRow], recipe: Recipe) -> Any:  # Any: a Keras model
    """Return the network after the last step."""
    import tensorflow as tf

    from tasks.engine.network.losses import LOSSES
    from tasks.engine.network.model import build_model, set_precision, to_input

    set_precision("bfloat16")
    tf.keras.utils.set_random_seed(0)
    network = build_model("unet", "resnet34")
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = recipe.batchnorm_momentum
    optimizer = tf.keras.optimizers.Adam(use_ema=recipe.ema is not None, ema_momentum=recipe.ema or 0.99)

    @tf.function
    def step(images: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
        reference = tf.cast(masks, tf.float32)[..., tf.newaxis]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(LOSSES["bce_dice"](network(to_input(images), training=True), reference))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, network.trainable_variables), network.trainable_variables, strict=True)
        )
        return loss

    augmentation, batch, n_done, n_steps = transform(recipe), [], 0, N_SLICES // recipe.batch_size
    for epoch, row in order(rows, recipe):
        seed = augmentation_seed(0, epoch, row["case_id"], row["slice_index"])
        batch.append(augment_slice(augmentation, row["image"], row["mask"], seed=seed))
        if len(batch) == recipe.batch_size:
            rate = warmup_cosine(n_done, n_steps=n_steps, steps_per_epoch=n_steps // 10, peak=LEARNING_RATE)
            optimizer.learning_rate.assign(rate)
            step(*(np.stack(part) for part in zip(*batch, strict=True)))
            batch, n_done = [], n_done + 1
    if recipe.ema is not None:
        optimizer.finalize_variable_values(network.trainable_variables)
    return network


def score(network: Any, rows: list[SliceRow]) -> dict[str, dict[str, float | None]]:  # Any: a Keras model
    """Return each patient's Dice at 0.5, plain and as the mean over four flips."""
    import tensorflow as tf

    from tasks.engine.network.model import to_input

    forward = tf.function(lambda images: tf.sigmoid(network(to_input(images), training=False))[..., 0])
    sums: dict[str, dict[str, Counts]] = defaultdict(lambda: {"dice": Counts(), "dice_of_flips": Counts()})
    for start in range(0, len(rows), BASE.batch_size):
        part = rows[start : start + BASE.batch_size]
        images = np.stack([row["image"] for row in part])
        views = [images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]]
        answers = [forward(view).numpy() for view in views]
        back = [answers[0], answers[1][:, ::-1], answers[2][:, :, ::-1], answers[3][:, ::-1, ::-1]]
        for name, probability in (("dice", answers[0]), ("dice_of_flips", np.mean(back, axis=0))):
            for row, answer in zip(part, probability, strict=True):
                sums[row["patient_id"]][name] += count_pixels((answer >= 0.5).astype(np.uint8), row["mask"])
    return {patient: {name: dice(counts) for name, counts in of.items()} for patient, of in sums.items()}


def screen(out: Path, names: list[str]) -> None:
    """Train and score what is missing in `out`."""
    rows = load()
    source_of = {row["patient_id"]: row["source"] for row in rows}
    folds = fold_patients(source_of, n_folds=N_FOLDS, seed=0)
    done = {(line["lever"], line["fold"]) for line in read(out)}
    for fold in range(N_FOLDS):
        for name in names:
            if (name, fold) in done:
                continue
            network = train([row for row in rows if folds[row["patient_id"]] != fold], LEVERS[name])
            unseen = [row for row in rows if folds[row["patient_id"]] == fold]
            with out.open("a") as file:
                for patient, dices in sorted(score(network, unseen).items()):
                    line = {"lever": name, "fold": fold, "patient": patient, "source": source_of[patient], **dices}
                    file.write(json.dumps(line) + "\n")


def read(out: Path) -> list[dict[str, Any]]:  # Any: names and figures
    """Return the lines so far."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def table(out: Path) -> Table:
    """Return what each lever changes against the baseline on the same patients: by source, and over all."""
    dices: dict[str, dict[str, float]] = defaultdict(dict)
    source_of: dict[str, str] = {}
    for line in read(out):
        source_of[line["patient"]] = line["source"]
        dices[line["lever"]][line["patient"]] = line["dice"] or 0.0
        dices[f"{line['lever']}, flips at test"][line["patient"]] = line["dice_of_flips"] or 0.0
    sources = sorted(set(source_of.values()))
    shown = Table("lever", "patients", *(f"{source} Dice" for source in sources), "difference", "95 %")
    baseline = dices.get("baseline", {})
    for lever, all_of in dices.items():
        of = {patient: value for patient, value in all_of.items() if patient in baseline}
        if not of:
            continue
        differences = {patient: value - baseline[patient] for patient, value in of.items()}
        interval = bootstrap_interval(list(differences.values()), np.random.default_rng(0))
        by_source = [[patient for patient in of if source_of[patient] == source] for source in sources]
        shown.add_row(
            lever,
            str(len(of)),
            *(
                f"{_mean(of, patients):.3f} ({_mean(differences, patients):+.3f})" if patients else ""
                for patients in by_source
            ),
            f"{np.mean(list(differences.values())):+.3f}",
            "" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}",
        )
    return shown


def _mean(values: dict[str, float], patients: list[str]) -> float:
    return float(np.mean([values[patient] for patient in patients]))


def main() -> None:
    """Screen, or show what the screening gave."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.levers", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(LEVERS))
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    os.environ.update(WORKER_ENVIRONMENT)  # before anything imports TensorFlow
    if not asked.table:
        screen(asked.out, asked.names or list(LEVERS))
    Console(width=140).print(table(asked.out))


if __name__ == "__main__":
    main()
