"""What do flips add when predicting, and what do they cost? The networks of a cross-validation, patient by patient.

`python -m tests.benchmarks.flips MODEL DATASET`: each patient is predicted by the network that never saw it, in
bfloat16, as it is and mirrored in three ways, and scored at the threshold that the other folds' patients choose: for
each way of averaging these looks, and for flips where they chose those. `--every N` takes every N-th slice,
`--slice-statistics F` lets the networks lean on each slice's own statistics otherwise than the bundle says.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.core.catalog import SPLITS
from tasks.core.config.learning import ModelConfig
from tasks.core.metrics import bootstrap_interval, dice
from tasks.core.operating_point import (
    OperatingPoint,
    ProbabilityHistogram,
    choose_operating_point,
    probability_histogram,
)
from tasks.core.postprocess import probability_level
from tasks.core.test_time_flips import MIN_LEVEL, MIRRORED_AXES
from tasks.engine.cluster.environment import WORKER_ENVIRONMENT
from tasks.engine.inference.bundle_model import BATCH_SIZE
from tasks.io.outputs import bundles, datasets
from tasks.io.outputs.datasets import SliceRow


@dataclass(frozen=True, slots=True)
class Way:
    """A way of averaging looks.

    Attributes:
        mirrored: Places in `MIRRORED_AXES`.
        seen_level: Only where a pixel of the first look reaches it, in units of 1/255.
    """

    mirrored: tuple[int, ...] = ()
    seen_level: int = 0


SINGLE, SEEN = "single predictions", "all four, where something was seen"
WAYS = {
    SINGLE: Way(),
    "left-right only": Way((1,)),
    "up-down only": Way((0,)),
    "all four, every slice": Way((0, 1, 2)),
    SEEN: Way((0, 1, 2), MIN_LEVEL),
    "all four, where 0.01 was seen": Way((0, 1, 2), 3),
    "all four, where 0.5 was seen": Way((0, 1, 2), 128),
}

OfPatients = dict[str, ProbabilityHistogram]


@dataclass(slots=True)
class Looks:
    """What the networks saw: of each way and fold the histogram of each patient, and what it took."""

    histograms: dict[str, list[OfPatients]]
    predictions_a_slice: dict[str, float]
    slices_per_second: float


def look(model_uri: str, rows: list[SliceRow], *, slice_statistics: float | None) -> Looks:
    """Predict each patient by the network that never saw it."""
    from tasks.engine.inference.predictor import Predictor  # loads TensorFlow

    card = bundles.read_card(model_uri).model_copy(update={"test_time_flips": False})
    if slice_statistics is not None:
        asked = ModelConfig(slice_statistics=slice_statistics)
        card = card.model_copy(update={"slice_statistics": asked.slice_statistics})
    histograms: dict[str, list[OfPatients]] = {name: [] for name in WAYS}
    n_predicted, seconds = dict.fromkeys(WAYS, 0), 0.0
    for index, member in enumerate(card.members):
        weights = bundles.read_member(model_uri, index).weights
        predictor = Predictor(card, weights, precision="bfloat16", batch_size=BATCH_SIZE)
        unseen = [row for row in rows if row["patient_id"] in member.held_out]
        images = np.stack([row["image"] for row in unseen])
        predictor.predict(images[:1])  # compiles
        started = time.perf_counter()
        first = predictor.predict(images)
        seconds += time.perf_counter() - started
        mirrored = [np.flip(predictor.predict(np.flip(images, axes)), axes) for axes in MIRRORED_AXES]
        for name, way in WAYS.items():
            answer, n_attempts = average(first, mirrored, way)
            histograms[name].append(by_patient(unseen, answer))
            n_predicted[name] += n_attempts
    shares = {name: n / len(rows) for name, n in n_predicted.items()}
    return Looks(histograms, shares, len(rows) / seconds)


def average(first: np.ndarray, mirrored: list[np.ndarray], way: Way) -> tuple[np.ndarray, int]:
    """Return what a way makes of these looks, and how many predictions it takes."""
    seen = (first >= way.seen_level).any(axis=(1, 2))
    looks = [first[seen], *(mirrored[axes][seen] for axes in way.mirrored)]
    answer = first.copy()
    answer[seen] = np.rint(np.mean(looks, axis=0, dtype=np.float32))
    return answer, len(first) + len(way.mirrored) * int(seen.sum())


def by_patient(rows: list[SliceRow], answers: np.ndarray) -> OfPatients:
    """Return the histogram of each patient."""
    found: OfPatients = {}
    for row, answer in zip(rows, answers, strict=True):
        histogram, patient = probability_histogram(answer, row["mask"]), row["patient_id"]
        found[patient] = histogram + found[patient] if patient in found else histogram
    return found


def dices(looks: Looks, name: str) -> dict[str, float]:
    """Return each patient's Dice a certain way, at the threshold that the other folds choose; undefined counts as 0."""
    folds = looks.histograms[name]
    return {
        patient: dice(histogram.counts_at(probability_level(choice(looks, fold, name, name).threshold))) or 0.0
        for fold, of_fold in enumerate(folds)
        for patient, histogram in of_fold.items()
    }


def chosen_dices(looks: Looks) -> tuple[dict[str, float], list[OperatingPoint]]:
    """Return each patient's Dice as the product has it, flips chosen by the other folds too, and those choices."""
    points = [choice(looks, fold, SINGLE, SEEN) for fold in range(len(looks.histograms[SINGLE]))]
    found = {
        patient: dice(histogram.counts_at(probability_level(point.threshold))) or 0.0
        for fold, point in enumerate(points)
        for patient, histogram in looks.histograms[SEEN if point.flips else SINGLE][fold].items()
    }
    return found, points


def choice(looks: Looks, fold: int, single: str, flipped: str) -> OperatingPoint:
    """Return what the patients of the other folds choose."""
    of_others = [
        [histogram for other, of in enumerate(looks.histograms[name]) if other != fold for histogram in of.values()]
        for name in (single, flipped)
    ]
    return choose_operating_point(*of_others, threshold=None, flips=None)


def main() -> None:
    """Show each way by source, and single predictions beside the product's choice by patient."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.flips", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--slice-statistics", type=float, metavar="0..1")
    asked = parser.parse_args()
    os.environ.update(WORKER_ENVIRONMENT)  # before anything imports TensorFlow
    shards = [uri for split in SPLITS for uri in datasets.list_shards(asked.dataset, split)]
    rows = [row for uri in shards for row in datasets.read_shard(uri)][:: asked.every]
    looks = look(asked.model, rows, slice_statistics=asked.slice_statistics)
    console = Console(width=120)
    source_of = {row["patient_id"]: row["source"] for row in rows}
    sources = sorted(set(source_of.values()))
    shown = Table("", *sources, "predictions a slice")
    for name in WAYS:
        means = by_source(dices(looks, name), source_of)
        shown.add_row(name, *(means[source] for source in sources), f"{looks.predictions_a_slice[name]:.2f}")
    chosen, points = chosen_dices(looks)
    means = by_source(chosen, source_of)
    shown.add_row("as chosen", *(means[source] for source in sources), "")
    console.print(shown)
    for point in points:
        console.print(
            f"flips {point.flips}, threshold {point.threshold:.2f}, {point.mean_dice}, else {point.dice_otherwise}"
        )
    patients, single = Table("patient", "single", "as chosen"), dices(looks, SINGLE)
    for patient in sorted(single):
        patients.add_row(patient, f"{single[patient]:.3f}", f"{chosen[patient]:.3f}")
    console.print(patients)
    console.print(f"{looks.slices_per_second:.1f} single predictions a second")


def by_source(dice_of: Mapping[str, float], source_of: Mapping[str, str]) -> dict[str, str]:
    """Return the mean over each source's patients, with its interval."""
    of_source: dict[str, list[float]] = defaultdict(list)
    for patient, value in dice_of.items():
        of_source[source_of[patient]].append(value)
    shown = {}
    for source, values in of_source.items():
        interval = bootstrap_interval(values, np.random.default_rng(0))
        shown[source] = f"{np.mean(values):.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")
    return shown


if __name__ == "__main__":
    main()
