"""Quality of recipes on patients their networks never saw.

`python -m tests.benchmarks.quality train RECIPE [--protocol cv|source|random] [--parts NAME …] [--seed N]` trains what
has no result yet and keeps each result; `… table RECIPE [BASELINE]` prints the figures, paired by patient; `… rules
RECIPE` what each rule for the operating point does to patients it was not chosen on; `… calibration RECIPE` how well
the expected quality ranks and covers; `… queue RECIPE` how early slices of low Dice come up in the review queue.
"""

import argparse
import os
import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.core.config.learning import TrainingConfig
from tasks.core.metrics import Counts, precision, recall
from tasks.core.operating_point import point_of
from tasks.core.postprocess import probability_level, threshold_probability
from tasks.core.smoothing import smooth_cases
from tasks.core.test_time_flips import Predict
from tasks.engine.cluster.environment import WORKER_ENVIRONMENT
from tasks.stages.lung_scores import LungScore
from tests.benchmarks.quality import calibration, results
from tests.benchmarks.quality.battery import BATTERY
from tests.benchmarks.quality.calibration import LOW_DICE, Ranking, Samples, estimates
from tests.benchmarks.quality.collection import Slices, read_collection, read_equalised
from tests.benchmarks.quality.protocols import PROTOCOLS
from tests.benchmarks.quality.recipes import RECIPES, Recipe
from tests.benchmarks.quality.results import OfPatients, Result
from tests.benchmarks.quality.review_order import FIRST, queue_of
from tests.benchmarks.quality.rules import outcomes

BATTERY_EVERY = 3
console = Console(width=140)


def train(name: str, *, protocol: str, parts: list[str] | None, seed: int) -> None:
    """Train and score the parts of a protocol that have no result yet."""
    os.environ.update(WORKER_ENVIRONMENT)  # before anything imports TensorFlow
    from tests.benchmarks.quality.networks import train as train_network

    slices = read_collection()
    equalised = read_equalised(slices)
    results.FOLDER.mkdir(exist_ok=True)
    for part in PROTOCOLS[protocol](slices):
        if (parts and part.name not in parts) or results.path_of(name, part.name, seed).exists():
            continue
        trained = train_network(slices.take(part.train), Recipe.named(name, seed=seed))
        histograms, involvement, ms_per_slice = score(trained.predict, slices.take(part.unseen), equalised)
        result = Result(
            recipe=name,
            part=part.name,
            seed=seed,
            histograms=histograms,
            slices_per_second=trained.slices_per_second,
            ms_per_slice=round(ms_per_slice, 1),
            loss=round(trained.loss, 4),
            involvement=involvement,
        )
        result.write()
        unseen = slices.take(part.unseen)
        outputs = trained.predict(unseen.images)
        samples = calibration.sample(unseen, outputs, _smoothed(unseen, outputs[0]), trained.recipe)
        samples.write(calibration.path_of(name, part.name, seed))
        found = results.dice_of(histograms["all slices"], probability_level(0.5))
        console.print(f"{name} {part.name} seed {seed}: {found}", highlight=False)


def score(
    predict: Predict, unseen: Slices, equalised: Slices
) -> tuple[dict[str, OfPatients], dict[str, list[float]], float]:
    """Return of unseen patients the histograms by kind of slice, the involvement, and the milliseconds per slice."""
    predict(unseen.images[:1])  # compiles
    started = time.perf_counter()
    outputs = predict(unseen.images)
    ms_per_slice = 1000 * (time.perf_counter() - started) / len(unseen)
    smoothed = _smoothed(unseen, outputs[0])
    histograms = {"all slices": _histograms(unseen, outputs[0]), "smoothed": _histograms(unseen, smoothed)}
    involvement = {}
    if len(outputs) > 1:
        known = np.flatnonzero(unseen.has_lung)
        histograms["lung"] = results.add_up(_patients(unseen.take(known)), outputs[1][known], unseen.lungs[known])
        involvement = _involvement(unseen.take(known), smoothed[known], outputs[1][known])
    shown = unseen.take(np.flatnonzero(unseen.has_lung & unseen.masks.any(axis=(1, 2)))[::BATTERY_EVERY])
    for kind, change in BATTERY.items():
        changed = [change(*each) for each in zip(shown.images, shown.masks, shown.lungs, strict=True)]
        images, masks = (np.stack([each[place] for each in changed]) for place in (0, 1))
        histograms[kind] = results.add_up(_patients(shown), predict(images)[0], masks)
    places = {(each.case_id, each.slice_index) for each in unseen.identities}
    twins = equalised.take(
        [index for index, each in enumerate(equalised.identities) if (each.case_id, each.slice_index) in places]
    )
    if len(twins):
        histograms["equalised"] = _histograms(twins, predict(twins.images)[0])
        histograms["not equalised"] = _histograms(twins, predict(_originals(unseen, twins))[0])
    return histograms, involvement, ms_per_slice


def _patients(slices: Slices) -> list[str]:
    return [each.patient_id for each in slices.identities]


def _involvement(slices: Slices, lesion: np.ndarray, lung: np.ndarray) -> dict[str, list[float]]:
    """Return predicted and reference involvement of each patient at threshold 0.5."""
    scores: dict[str, LungScore] = defaultdict(LungScore)
    for index, patient in enumerate(_patients(slices)):
        scores[patient] += LungScore.of_slice(
            lung[index],
            slices.lungs[index],
            prediction=threshold_probability(lesion[index], 0.5),
            reference=slices.masks[index],
        )
    figures = {patient: score.figures() for patient, score in sorted(scores.items())}
    return {
        patient: [round(of["lung_involvement"] or 0, 4), round(of["lung_involvement_reference"] or 0, 4)]
        for patient, of in figures.items()
    }


def _histograms(slices: Slices, probability: np.ndarray) -> OfPatients:
    return results.add_up(_patients(slices), probability, slices.masks)


def _smoothed(slices: Slices, probability: np.ndarray) -> np.ndarray:
    return smooth_cases(probability, [(each.case_id, each.slice_index) for each in slices.identities])


def _originals(slices: Slices, twins: Slices) -> np.ndarray:
    """Return the images of which others are twins."""
    index_of = {(each.case_id, each.slice_index): index for index, each in enumerate(slices.identities)}
    return slices.images[[index_of[each.case_id, each.slice_index] for each in twins.identities]]


def table(name: str, baseline: str | None, *, protocol: str) -> None:
    """Print the figures of a recipe, and its difference from another patient by patient."""
    found, other = _gather(name, protocol), _gather(baseline, protocol) if baseline else {}
    if not found:
        console.print(f"{name} has no result of {protocol}.")
        return
    shown = Table("kind", "source", "patients", "mean Dice", "pooled precision", "recall", f"against {baseline}")
    for kind, patients in found.items():
        for source in dict.fromkeys(patient.split("_")[0] for patient in patients):
            own = {patient: figures for patient, figures in patients.items() if patient.startswith(source)}
            counts = sum((figures.counts for figures in own.values()), Counts())
            pairs = (
                [figures.dice - other[kind][patient].dice for patient, figures in own.items()]
                if (kind in other and own.keys() <= other[kind].keys())
                else []
            )
            shown.add_row(
                kind,
                source,
                str(len(own)),
                results.shown_mean([figures.dice for figures in own.values()]),
                f"{precision(counts) or 0:.3f}",
                f"{recall(counts) or 0:.3f}",
                results.shown_mean(pairs, is_difference=True) if pairs else "",
            )
    console.print(shown)
    pairs = [pair for result in _results(name, protocol) for pair in result.involvement.values()]
    if pairs:
        error = 100 * np.median([abs(predicted - reference) for predicted, reference in pairs])
        console.print(f"involvement: median error {error:.1f} percentage points")
    for result in _results(name, protocol):
        console.print(
            f"{result.part} seed {result.seed}: {result.slices_per_second} slices/s in training, "
            f"{result.ms_per_slice} ms per slice, loss {result.loss}"
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a patient, over all seeds: mean Dice and summed counts."""

    dice: float
    counts: Counts


def _results(name: str, protocol: str) -> list[Result]:
    prefix = {"cv": "fold", "source": "without", "random": "random"}[protocol]
    return [results.read(path) for path in sorted(results.FOLDER.glob(f"{name}.{prefix}*.json"))]


def _gather(name: str, protocol: str) -> dict[str, dict[str, Figures]]:
    """Return the figures of each patient by kind, at the threshold that the other parts' patients choose."""
    dices: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    counts: dict[str, dict[str, Counts]] = defaultdict(lambda: defaultdict(Counts))
    found = _results(name, protocol)
    for result in found:
        for kind, patients in result.histograms.items():
            level = _level(result, found, "smoothed" if kind == "smoothed" else "all slices")
            if kind == "lung":
                level = probability_level(0.5)
            for patient, value in results.dice_of(patients, level).items():
                dices[kind][patient].append(value)
                counts[kind][patient] += patients[patient].counts_at(level)
    return {
        kind: {patient: Figures(float(np.mean(values)), counts[kind][patient]) for patient, values in own.items()}
        for kind, own in dices.items()
    }


def _level(result: Result, found: list[Result], kind: str) -> int:
    """Return the threshold that the patients of other folds choose; 0.5 where there are no other folds."""
    others = [each for each in found if each.seed == result.seed and each.part != result.part]
    if not result.part.startswith("fold") or not others:
        return probability_level(0.5)
    patients = [histogram for each in others for histogram in each.histograms[kind].values()]
    return probability_level(point_of(patients, TrainingConfig()).threshold)


def _samples(name: str) -> list[Samples]:
    return [Samples.read(path) for path in sorted(results.FOLDER.glob(f"{name}.fold*.0.slices.csv"))]


def show_queue(name: str) -> None:
    """Print how many slices of low Dice the first fifth of the review queue holds."""
    queue = queue_of(_samples(name))
    for kind, chosen in {
        "with a mask": queue.take(np.flatnonzero(queue.has_mask)),
        "with a mask or a lesion": queue,
    }.items():
        low, high = chosen.interval()
        console.print(
            f"{len(chosen.dice)} slices {kind}: the first {FIRST:.0%} hold {chosen.share_found():.0%} (95 % interval "
            f"by patient {low:.0%} to {high:.0%}) of the slices of Dice below {LOW_DICE} that a perfect order would",
            highlight=False,
        )


def show_calibration(name: str) -> None:
    """Print how well the expected quality ranks slices of unseen patients, and how many its intervals cover."""
    found = list(estimates([fold.with_lesion() for fold in _samples(name)]))
    true, shown = np.concatenate([fold.dice for fold, _ in found]), np.concatenate([of for _, of in found])
    patients = np.array([patient for fold, _ in found for patient in fold.patients])
    ranking = Ranking.of(shown[:, 0], true)
    covered = (true >= shown[:, 1] - 1e-9) & (true <= shown[:, 2] + 1e-9)
    console.print(
        f"{len(true)} slices with lesion: AURC {ranking.area_ratio:.3f} x ideal, AUROC {ranking.area_roc:.3f} for Dice "
        f"below {LOW_DICE}, worst fifth has {ranking.found_in_worst:.0%} of what it could; intervals cover "
        f"{covered.mean():.1%} and are {np.mean(shown[:, 2] - shown[:, 1]):.2f} wide"
    )
    by_patient = Table("patient", "slices", "expected", "true", "covered")
    for patient in np.unique(patients):
        own = patients == patient
        by_patient.add_row(
            patient,
            str(own.sum()),
            *(f"{of[own].mean():.2f}" for of in (shown[:, 0], true)),
            f"{covered[own].mean():.0%}",
        )
    console.print(by_patient)


def show_rules(name: str) -> None:
    """Print what each rule for the operating point does to unseen patients, over splits of those of all folds."""
    patients = [of for result in _results(name, "cv") for of in result.histograms["smoothed"].values()]
    shown = Table("rule", "threshold", "Dice", "precision", "recall", "false lesions", "within the rate", "unmet")
    for found in outcomes(patients):
        figures = (found.threshold, found.dice, found.precision, found.recall, found.false_lesions, found.coverage)
        shown.add_row(found.rule, *("" if value is None else f"{value:.3f}" for value in figures), str(found.n_unmet))
    console.print(shown)


def main() -> None:
    """Train a recipe, or show its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quality", description=__doc__)
    parser.add_argument("what", choices=("train", "table", "rules", "calibration", "queue"))
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("baseline", nargs="?", choices=RECIPES)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="cv")
    parser.add_argument("--parts", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.what == "train":
        train(asked.recipe, protocol=asked.protocol, parts=asked.parts, seed=asked.seed)
    elif asked.what == "rules":
        show_rules(asked.recipe)
    elif asked.what == "calibration":
        show_calibration(asked.recipe)
    elif asked.what == "queue":
        show_queue(asked.recipe)
    else:
        table(asked.recipe, asked.baseline, protocol=asked.protocol)


if __name__ == "__main__":
    main()
