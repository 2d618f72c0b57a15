"""How good are the masks of a patient: metrics that need masks of whole cases, and not counts of pixels alone.

Conventions: a metric is taken case by case, on the source's own grid, and averaged over the patient's cases in which it
is defined; `None` where it is in none. A lesion is a connected component in three dimensions; voxels that touch at a
corner belong together. A lesion is found if the other mask shares a voxel with it.

Source of the definitions: Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 2024,
doi:10.1038/s41592-023-02151-z.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import cc3d
import numpy as np

from tasks.core.metrics import mean_defined


@dataclass(frozen=True, slots=True)
class LesionCounts:
    """Lesions of a case.

    Attributes:
        n_reference: In the reference.
        n_missed: Of these, without a voxel of the prediction.
        n_predicted: In the prediction.
        n_false: Of these, without a voxel of the reference.
    """

    n_reference: int
    n_missed: int
    n_predicted: int
    n_false: int


@dataclass(frozen=True)
class CaseMasks:
    """Prediction and reference of a whole case: what a metric of `PATIENT_METRICS` is handed.

    Attributes:
        prediction: uint8 of 0 and 1, `(D, H, W)`, from feet to head, on the source's grid.
        reference: The same of the expert's mask.
        spacing_mm: Of voxels along (D, H, W); None where the source is slices, which say nothing of it.
    """

    prediction: np.ndarray
    reference: np.ndarray
    spacing_mm: tuple[float, float, float] | None = None

    @cached_property
    def lesions(self) -> LesionCounts:
        """Lesions, counted once for all metrics."""
        n_reference, n_missed = _count_lesions(self.reference, self.prediction)
        n_predicted, n_false = _count_lesions(self.prediction, self.reference)
        return LesionCounts(n_reference, n_missed, n_predicted, n_false)


def volume_error(case: CaseMasks) -> float | None:
    """(Predicted - reference) voxels / reference voxels, 0 at best; undefined without a reference lesion."""
    n_reference = int(np.count_nonzero(case.reference))
    return (int(np.count_nonzero(case.prediction)) - n_reference) / n_reference if n_reference else None


def lesion_recall(case: CaseMasks) -> float | None:
    """Share of reference lesions that are found; undefined without one."""
    lesions = case.lesions
    return 1 - lesions.n_missed / lesions.n_reference if lesions.n_reference else None


def lesion_precision(case: CaseMasks) -> float | None:
    """Share of predicted lesions that are in the reference; undefined without a predicted one."""
    lesions = case.lesions
    return 1 - lesions.n_false / lesions.n_predicted if lesions.n_predicted else None


def lesion_f1(case: CaseMasks) -> float | None:
    """Harmonic mean of lesion recall and precision, 0 where one is 0 or undefined; undefined without any lesion."""
    if not case.lesions.n_reference and not case.lesions.n_predicted:
        return None
    recall, precision = lesion_recall(case) or 0.0, lesion_precision(case) or 0.0
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def false_lesions_per_scan(case: CaseMasks) -> float | None:
    """Number of predicted lesions that are not in the reference; always defined."""
    return float(case.lesions.n_false)


PATIENT_METRICS: dict[str, Callable[[CaseMasks], float | None]] = {
    "volume_error": volume_error,
    "lesion_recall": lesion_recall,
    "lesion_precision": lesion_precision,
    "lesion_f1": lesion_f1,
    "false_lesions_per_scan": false_lesions_per_scan,
}
"""Every column of `per_patient` that needs masks. A new one is a function above and a line here."""


def score_case(case: CaseMasks) -> dict[str, float | None]:
    """Return every metric of a case, by name."""
    return {name: metric(case) for name, metric in PATIENT_METRICS.items()}


def mean_of_cases(cases: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of every metric over a patient's cases in which it is defined, by name."""
    scored = list(cases)
    return {name: mean_defined([case[name] for case in scored]) for name in PATIENT_METRICS}


def _count_lesions(mask: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Return the number of lesions of a mask, and of those that the other mask shares no voxel with."""
    box = _bounding_box(mask)
    if box is None:
        return 0, 0
    labels, n_lesions = cc3d.connected_components(np.ascontiguousarray(mask[box]), connectivity=26, return_N=True)
    n_found = np.count_nonzero(np.bincount(labels[other[box] > 0])[1:])
    return int(n_lesions), int(n_lesions - n_found)


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Return the smallest box that holds a mask, None of an empty one: labelling all of a scan takes seconds."""
    sides = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not sides[0].size:
        return None
    depth, height, width = (slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    return depth, height, width
