"""Patient metrics: metrics that need the masks of whole cases, not only counts of pixels.

Conventions: a metric is computed per case, on the grid of the source, and averaged over the patient's cases for which
it is defined; `None` if there is none. A lesion is a connected component in three dimensions; voxels that touch at a
corner are connected. A lesion is found if the other mask shares a voxel with it.

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
    """Numbers of lesions of a case.

    Attributes:
        n_reference: Lesions in the reference.
        n_missed: Lesions in the reference without a predicted voxel.
        n_predicted: Lesions in the prediction.
        n_false: Lesions in the prediction without a reference voxel.
    """

    n_reference: int
    n_missed: int
    n_predicted: int
    n_false: int


@dataclass(frozen=True)
class CaseMasks:
    """Prediction and reference of a whole case: the input of `PATIENT_METRICS`.

    Attributes:
        prediction: uint8 of 0 and 1, `(D, H, W)`, from feet to head, on the grid of the source.
        reference: Expert's mask, likewise.
        spacing_mm: Spacing along (D, H, W); None for slice files, which have none.
    """

    prediction: np.ndarray
    reference: np.ndarray
    spacing_mm: tuple[float, float, float] | None = None

    @cached_property
    def lesions(self) -> LesionCounts:
        """Numbers of lesions, counted once for all metrics."""
        n_reference, n_missed = _count_lesions(self.reference, self.prediction)
        n_predicted, n_false = _count_lesions(self.prediction, self.reference)
        return LesionCounts(n_reference, n_missed, n_predicted, n_false)


def volume_error(case: CaseMasks) -> float | None:
    """Relative volume error: (predicted - reference) / reference voxels; undefined without a reference lesion."""
    n_reference = int(np.count_nonzero(case.reference))
    return (int(np.count_nonzero(case.prediction)) - n_reference) / n_reference if n_reference else None


def lesion_recall(case: CaseMasks) -> float | None:
    """Fraction of reference lesions that are found; undefined without one."""
    lesions = case.lesions
    return 1 - lesions.n_missed / lesions.n_reference if lesions.n_reference else None


def lesion_precision(case: CaseMasks) -> float | None:
    """Fraction of predicted lesions that are in the reference; undefined without one."""
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
"""Registry of patient metrics, columns of `per_patient`; a new metric is a function above and a line here."""


def score_case(case: CaseMasks) -> dict[str, float | None]:
    """Return every metric of a case, by name."""
    return {name: metric(case) for name, metric in PATIENT_METRICS.items()}


def mean_of_cases(cases: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of every metric over a patient's cases, as far as it is defined, by name."""
    scored = list(cases)
    return {name: mean_defined([case[name] for case in scored]) for name in PATIENT_METRICS}


def _count_lesions(mask: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Return the number of lesions in a mask, and of those without a voxel in the other mask."""
    box = _bounding_box(mask)
    if box is None:
        return 0, 0
    labels, n_lesions = cc3d.connected_components(np.ascontiguousarray(mask[box]), connectivity=26, return_N=True)
    n_found = np.count_nonzero(np.bincount(labels[other[box] > 0])[1:])
    return int(n_lesions), int(n_lesions - n_found)


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Return the bounding box of a mask, None if it is empty; labelling a whole scan would take seconds."""
    sides = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not sides[0].size:
        return None
    depth, height, width = (slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    return depth, height, width
