"""Scores of patients: choice of the scoring network, and sums over shards."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tasks.core.geometry import resize_slice_to
from tasks.core.metrics import Counts
from tasks.core.pictures.overlap import OVERLAP_PALETTE, overlap_picture
from tasks.core.probability_histogram import ProbabilityHistogram
from tasks.core.rows import FailureRow
from tasks.core.schemas import ModelCard
from tasks.io.formats.raster import write_png
from tasks.stages.case_scores import CaseScore, add_cases
from tasks.stages.lung_scores import LungScore


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scoring network and its operating point.

    Attributes:
        member: Index of the network in the ensemble; None = the whole bundle.
        threshold: Smallest probability at which a pixel is labelled lesion.
        test_time_flips: Whether test-time flips are used.
        min_lesion_px: Area below which lesions are removed, pixels at the model's size.
    """

    member: int | None = None
    threshold: float = 0.5
    test_time_flips: bool = False
    min_lesion_px: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """Scoring network and the patients it scores."""

    by: Scorer
    patients: set[str]


def views(card: ModelCard, patients: set[str]) -> list[View]:
    """Return the patients of each scorer: held-out patients by their network, all others by the whole bundle."""
    views = []
    for index, member in enumerate(card.members):
        by = Scorer(index, member.threshold, member.test_time_flips, member.min_lesion_px)
        views.append(View(by, patients.intersection(member.held_out)))
    rest = patients.difference(*(member.held_out for member in card.members))
    views.append(View(Scorer(None, card.threshold, card.test_time_flips, card.min_lesion_px), rest))
    return [view for view in views if view.patients]


@dataclass(frozen=True, slots=True)
class Picture:
    """Picture of a patient in the report: one slice.

    Attributes:
        n_lesion: Number of lesion pixels of the reference.
        png: The slice, and beside it the same with the overlap of masks in colours; empty without any lesion.
        slice_index: Position of the slice in its case.
    """

    n_lesion: int = -1
    png: bytes = b""
    slice_index: int = 0

    def larger(
        self, image: np.ndarray, prediction: np.ndarray, reference: np.ndarray, *, slice_index: int
    ) -> "Picture":
        """Return the picture of a slice if it shows a larger lesion than this one, else an empty one.

        Args:
            image: uint8 `(h, w)`, of any size.
            prediction: Mask of 0 and 1 on the source grid, `(H, W)`.
            reference: Mask of 0 and 1, same shape.
            slice_index: Position of the slice in its case.
        """
        n_lesion = int(np.count_nonzero(reference))
        if n_lesion <= self.n_lesion or not (n_lesion or prediction.any()):
            return Picture()
        height, width = reference.shape
        shown = overlap_picture(resize_slice_to(image, (height, width)), prediction=prediction, reference=reference)
        return Picture(n_lesion, write_png(shown, OVERLAP_PALETTE), slice_index)


@dataclass(frozen=True, slots=True)
class PatientScore:
    """Score of a patient, summed over slices.

    Attributes:
        source: Collection the patient comes from.
        by: Scoring network.
        n_slices: Slices scored.
        counts: Pixel counts on the source grid.
        histogram: Histogram of probabilities at the model's input size.
        loss: Sum over slices of the binary cross-entropy at the model's input size.
        picture: Slice with the largest lesion, the first of equals.
        lung: Score of the lung output.
        cases: Cases by `case_id`, for metrics that need masks.
    """

    source: str
    by: Scorer
    n_slices: int = 0
    counts: Counts = field(default_factory=Counts)
    histogram: ProbabilityHistogram = field(default_factory=ProbabilityHistogram.empty)
    loss: float = 0.0
    picture: Picture = field(default_factory=Picture)
    lung: LungScore = field(default_factory=LungScore)
    cases: dict[str, CaseScore] = field(default_factory=dict)

    def __add__(self, later: "PatientScore") -> "PatientScore":
        return PatientScore(
            source=self.source,
            by=self.by,
            n_slices=self.n_slices + later.n_slices,
            counts=self.counts + later.counts,
            histogram=self.histogram + later.histogram,
            loss=self.loss + later.loss,
            picture=max(self.picture, later.picture, key=lambda picture: picture.n_lesion),
            lung=self.lung + later.lung,
            cases=add_cases(self.cases, later.cases),
        )


@dataclass(frozen=True, slots=True)
class ShardScore:
    """Scores of a shard, with one picture per patient.

    Attributes:
        uri: URI of the shard.
        patients: Scores by `patient_id`.
        failures: Slices that could not be scored.
    """

    uri: str
    patients: dict[str, PatientScore]
    failures: list[FailureRow]


def add_up(shards: Iterable[ShardScore]) -> dict[str, PatientScore]:
    """Return the score of each patient, over all shards that hold slices of theirs, by `patient_id`."""
    patients: dict[str, PatientScore] = {}
    for shard in sorted(shards, key=lambda shard: shard.uri):  # in a fixed order, so that sums are reproducible
        for patient_id, score in shard.patients.items():
            patients[patient_id] = patients[patient_id] + score if patient_id in patients else score
    return dict(sorted(patients.items()))
