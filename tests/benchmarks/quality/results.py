"""Results of trainings: counts of each patient at many thresholds, one file per training, and their figures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tasks.core.intervals import bootstrap_interval
from tasks.core.metrics import Counts, dice
from tasks.core.probability_histogram import ProbabilityHistogram, probability_histogram

FOLDER = Path(__file__).parent / "results"
LEVELS = tuple(range(13, 254, 12))
"""Probabilities, in units of 1/255, at which counts are kept: 0.05, 0.10, … 0.99."""

OfPatients = dict[str, ProbabilityHistogram]
"""Histograms by patient, exact at `LEVELS`."""


@dataclass(frozen=True, slots=True)
class Result:
    """Scores of one trained network.

    Attributes:
        recipe: Name of its recipe.
        part: Part of a protocol.
        seed: Seed of the training.
        histograms: By kind of slice, then by patient.
        slices_per_second: Speed of the training.
        ms_per_slice: Time of a forward pass.
        loss: Training loss of the last epoch.
        involvement: Lesion inside the lungs divided by lung of each patient: predicted, reference.
    """

    recipe: str
    part: str
    seed: int
    histograms: dict[str, OfPatients]
    slices_per_second: float
    ms_per_slice: float
    loss: float
    involvement: dict[str, list[float]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """File of the result."""
        return path_of(self.recipe, self.part, self.seed)

    def write(self) -> None:
        """Write the file."""
        kinds = {
            kind: {patient: _to_counts(histogram) for patient, histogram in sorted(patients.items())}
            for kind, patients in self.histograms.items()
        }
        figures = {name: getattr(self, name) for name in ("slices_per_second", "ms_per_slice", "loss", "involvement")}
        content = {"recipe": self.recipe, "part": self.part, "seed": self.seed, **figures, "counts": kinds}
        lines = json.dumps(content, indent=1).replace("\n     ", " ").replace("\n    ]", "]")
        self.path.write_text(lines + "\n")


def path_of(recipe: str, part: str, seed: int) -> Path:
    """Return the file of a result."""
    return FOLDER / f"{recipe}.{part}.{seed}.json"


def read(path: Path) -> Result:
    """Return the result in a file."""
    found = json.loads(path.read_text())
    kinds = found.pop("counts")
    histograms = {
        kind: {patient: _to_histogram(counts) for patient, counts in patients.items()}
        for kind, patients in kinds.items()
    }
    return Result(**found, histograms=histograms)


def add_up(patients: Iterable[str], probabilities: np.ndarray, masks: np.ndarray) -> OfPatients:
    """Return the histogram of each patient over their slices."""
    found: OfPatients = {}
    for patient, probability, mask in zip(patients, probabilities, masks, strict=True):
        histogram = probability_histogram(probability, mask)
        found[patient] = found[patient] + histogram if patient in found else histogram
    return found


def dice_of(patients: Mapping[str, ProbabilityHistogram], level: int) -> dict[str, float]:
    """Return the Dice of each patient with lesions at a level; 0 without any overlap."""
    return {
        patient: dice(histogram.counts_at(level)) or 0.0
        for patient, histogram in patients.items()
        if histogram.lesion.any()
    }


def pooled(patients: Mapping[str, ProbabilityHistogram], level: int) -> Counts:
    """Return the counts of all patients together."""
    return sum((histogram.counts_at(level) for histogram in patients.values()), Counts())


def shown_mean(values: Sequence[float], *, is_difference: bool = False) -> str:
    """Return a mean with its bootstrap interval over patients, as text."""
    interval, form = bootstrap_interval(values, np.random.default_rng(0)), "+.3f" if is_difference else ".3f"
    return f"{np.mean(values):{form}}" + (f" ({interval[0]:{form}} to {interval[1]:{form}})" if interval else "")


def _to_counts(histogram: ProbabilityHistogram) -> list[list[int]]:
    """Return tp and fp at each level, and the pixels with and without lesion."""
    at = [histogram.counts_at(level) for level in LEVELS]
    totals = [int(histogram.lesion.sum()), int(histogram.healthy.sum())]
    return [[counts.tp for counts in at], [counts.fp for counts in at], totals]


def _to_histogram(counts: list[list[int]]) -> ProbabilityHistogram:
    true, false, (n_lesion, n_healthy) = counts
    return ProbabilityHistogram(_spread(true, n_lesion), _spread(false, n_healthy))


def _spread(at_levels: Sequence[int], total: int) -> np.ndarray:
    """Return a histogram with the same counts at every level, all pixels at the lowest value they may have."""
    histogram = np.zeros(256, np.int64)
    histogram[0] = total - at_levels[0]
    histogram[list(LEVELS)] = np.array(at_levels) - np.array([*at_levels[1:], 0])
    return histogram
