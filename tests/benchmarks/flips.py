"""What do flips add when predicting, and what do they cost? The networks of a cross-validation, patient by patient.

`python -m tests.benchmarks.flips MODEL DATASET`: each patient is predicted by the network that never saw it, plain and
with flips where something was seen, in bfloat16, each time at the threshold that the other folds' patients choose.
`--every N` takes every N-th slice.
"""

import argparse
import os
import time
from collections import defaultdict

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.core.catalog import SPLITS
from tasks.core.metrics import bootstrap_interval, dice
from tasks.core.operating_point import ProbabilityHistogram, choose_threshold, probability_histogram
from tasks.core.postprocess import probability_level
from tasks.engine.actors import BATCH_SIZE
from tasks.engine.cluster import WORKER_ENVIRONMENT
from tasks.io import bundles, datasets
from tasks.io.datasets import SliceRow

Histograms = dict[str, ProbabilityHistogram]


def held_out_histograms(model_uri: str, rows: list[SliceRow], *, flips: bool) -> tuple[list[Histograms], float]:
    """Return for each network the histograms of the patients it never saw, and the slices a second of them all."""
    from tasks.engine.prediction import Predictor  # loads TensorFlow

    card = bundles.read_card(model_uri).model_copy(update={"test_time_flips": flips})
    of_folds, n_slices, seconds = [], 0, 0.0
    for place, member in enumerate(card.members):
        weights = bundles.read_member(model_uri, place).weights
        predictor = Predictor(card, weights, precision="bfloat16", batch_size=BATCH_SIZE)
        unseen = [row for row in rows if row["patient_id"] in member.held_out]
        predictor.predict(unseen[0]["image"][np.newaxis])  # compiles
        started = time.perf_counter()
        answers = predictor.predict(np.stack([row["image"] for row in unseen]))
        seconds += time.perf_counter() - started
        n_slices += len(unseen)
        histograms: Histograms = {}
        for row, answer in zip(unseen, answers, strict=True):
            found, patient = probability_histogram(answer, row["mask"]), row["patient_id"]
            histograms[patient] = found + histograms[patient] if patient in histograms else found
        of_folds.append(histograms)
    return of_folds, n_slices / seconds


def dices(of_folds: list[Histograms]) -> dict[str, float]:
    """Return each patient's Dice at the threshold that the other folds choose; undefined counts as 0."""
    found = {}
    for own in of_folds:
        others = [histogram for other in of_folds if other is not own for histogram in other.values()]
        level = probability_level(choose_threshold(others).threshold)
        found |= {patient: dice(histogram.counts_at(level)) or 0.0 for patient, histogram in own.items()}
    return dict(sorted(found.items()))


def main() -> None:
    """Predict both ways and show both by patient, the differences by source."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.flips", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--every", type=int, default=1)
    asked = parser.parse_args()
    os.environ.update(WORKER_ENVIRONMENT)  # before anything imports TensorFlow
    shards = [uri for split in SPLITS for uri in datasets.list_shards(asked.dataset, split)]
    rows = [row for uri in shards for row in datasets.read_shard(uri)][:: asked.every]
    (plain, speed), (flipped, slow) = (
        (dices(found), speed)
        for found, speed in (held_out_histograms(asked.model, rows, flips=flips) for flips in (False, True))
    )
    source_of = {row["patient_id"]: row["source"] for row in rows}
    differences: dict[str, list[float]] = defaultdict(list)
    shown = Table("patient", "plain", "flips", "difference")
    for patient, before in plain.items():
        differences[source_of[patient]].append(flipped[patient] - before)
        shown.add_row(patient, f"{before:.3f}", f"{flipped[patient]:.3f}", f"{flipped[patient] - before:+.3f}")
    for source, of in differences.items():
        interval = bootstrap_interval(of, np.random.default_rng(0))
        mean = [float(np.mean([dice_of[p] for p in plain if source_of[p] == source])) for dice_of in (plain, flipped)]
        spread = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
        shown.add_row(source, f"{mean[0]:.3f}", f"{mean[1]:.3f}", f"{np.mean(of):+.3f}{spread}")
    shown.add_row("slices/s", f"{speed:.1f}", f"{slow:.1f}", "")
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
