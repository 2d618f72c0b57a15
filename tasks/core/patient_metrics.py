"""Patient metrics: metrics that need the masks of whole cases, not only counts of pixels.

Conventions: a metric is computed per case, on the grid of the source, and averaged over the patient's cases for which
it is defined; `None` if there is none. Metrics in mm and ml need the spacing, which volumes have and slice files have
not; those in px are of slices without spacing, where distances are within each slice.

Source of the definitions: Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 2024,
doi:10.1038/s41592-023-02151-z.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from tasks.core.lesions import MATCHING_RULE, SIZES_RULE, LesionCounts, LesionsBySize, count_lesions
from tasks.core.metrics import mean_defined
from tasks.core.surfaces import SurfaceDistances, slice_distances, volume_distances

CONVENTIONS = {
    "volume": "Volume errors are predicted minus reference; relative ones are undefined without a reference lesion.",
    "lesions": f"{MATCHING_RULE} Voxels that touch at a corner are one lesion. {SIZES_RULE}",
    "surfaces": "Surface metrics are over boundary voxels, all alike. NSD is the share of both boundaries within the "
    "tolerance, 0 if one of the masks is empty, undefined if both are. HD95 and mean surface distance are undefined if "
    "one is; of slices without spacing, they are over the slices in which both have lesion.",
}
"""What the definitions leave open, for readers of a report."""


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
    def lesions_by_size(self) -> LesionsBySize:
        """Numbers of lesions, counted once for all metrics."""
        return count_lesions(self.prediction, self.reference, self.spacing_mm)

    @property
    def lesions(self) -> LesionCounts:
        """Numbers of lesions of all sizes."""
        return sum(self.lesions_by_size, LesionCounts())

    @cached_property
    def surfaces(self) -> SurfaceDistances:
        """Distances between the outlines, measured once for all metrics."""
        if self.spacing_mm is None:
            return slice_distances(self.prediction, self.reference)
        return volume_distances(self.prediction, self.reference, self.spacing_mm)

    @cached_property
    def n_voxels(self) -> tuple[int, int]:
        """Lesion voxels of prediction and reference."""
        return int(np.count_nonzero(self.prediction)), int(np.count_nonzero(self.reference))


def volume_error(case: CaseMasks) -> float | None:
    """Relative volume error: (predicted - reference) / reference voxels; undefined without a reference lesion."""
    n_predicted, n_reference = case.n_voxels
    return (n_predicted - n_reference) / n_reference if n_reference else None


def absolute_volume_error(case: CaseMasks) -> float | None:
    """Relative volume error without its sign; undefined without a reference lesion."""
    error = volume_error(case)
    return None if error is None else abs(error)


def volume_error_ml(case: CaseMasks) -> float | None:
    """Predicted minus reference volume, ml; undefined without spacing."""
    if case.spacing_mm is None:
        return None
    n_predicted, n_reference = case.n_voxels
    return (n_predicted - n_reference) * float(np.prod(case.spacing_mm)) / 1000


def absolute_volume_error_ml(case: CaseMasks) -> float | None:
    """Volume error without its sign, ml; undefined without spacing."""
    error = volume_error_ml(case)
    return None if error is None else abs(error)


def lesion_recall(case: CaseMasks) -> float | None:
    """Fraction of reference lesions that are found; undefined without one."""
    return case.lesions.recall


def lesion_precision(case: CaseMasks) -> float | None:
    """Fraction of predicted lesions that are right; undefined without one."""
    return case.lesions.precision


def lesion_f1(case: CaseMasks) -> float | None:
    """Harmonic mean of lesion recall and precision, 0 where one is 0 or undefined; undefined without any lesion."""
    return case.lesions.f1


def false_lesions_per_scan(case: CaseMasks) -> float | None:
    """Number of predicted lesions that are false; always defined."""
    return float(case.lesions.n_false)


def normalized_surface_distance(case: CaseMasks, *, tolerance: float, has_spacing: bool) -> float | None:
    """Share of both boundaries within a tolerance of the other (NSD), in mm or in px; undefined if both are empty."""
    return case.surfaces.within(tolerance) if (case.spacing_mm is not None) == has_spacing else None


def hausdorff_distance_95(case: CaseMasks, *, has_spacing: bool) -> float | None:
    """Larger of the 95th percentiles of both boundaries' distances (HD95); undefined if a mask is empty."""
    return case.surfaces.percentile(95) if (case.spacing_mm is not None) == has_spacing else None


def mean_surface_distance(case: CaseMasks, *, has_spacing: bool) -> float | None:
    """Mean of both boundaries' mean distances (MASD); undefined if a mask is empty."""
    return case.surfaces.mean() if (case.spacing_mm is not None) == has_spacing else None


PATIENT_METRICS: dict[str, Callable[[CaseMasks], float | None]] = {
    "volume_error": volume_error,
    "absolute_volume_error": absolute_volume_error,
    "volume_error_ml": volume_error_ml,
    "absolute_volume_error_ml": absolute_volume_error_ml,
    "lesion_recall": lesion_recall,
    "lesion_precision": lesion_precision,
    "lesion_f1": lesion_f1,
    "false_lesions_per_scan": false_lesions_per_scan,
    "nsd_3mm": partial(normalized_surface_distance, tolerance=3, has_spacing=True),
    "nsd_5mm": partial(normalized_surface_distance, tolerance=5, has_spacing=True),
    "hd95_mm": partial(hausdorff_distance_95, has_spacing=True),
    "mean_surface_distance_mm": partial(mean_surface_distance, has_spacing=True),
    "nsd_3px": partial(normalized_surface_distance, tolerance=3, has_spacing=False),
    "nsd_5px": partial(normalized_surface_distance, tolerance=5, has_spacing=False),
    "hd95_px": partial(hausdorff_distance_95, has_spacing=False),
    "mean_surface_distance_px": partial(mean_surface_distance, has_spacing=False),
}
"""Registry of patient metrics, columns of `per_patient`; a new metric is a function above and a line here."""

RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("dice", "iou", "precision", "recall", "specificity", "accuracy"), (0.0, 1.0)),
    **dict.fromkeys(("lesion_recall", "lesion_precision", "lesion_f1"), (0.0, 1.0)),
    **dict.fromkeys(("nsd_3mm", "nsd_5mm", "nsd_3px", "nsd_5px"), (0.0, 1.0)),
    **dict.fromkeys(("hd95_mm", "hd95_px", "mean_surface_distance_mm", "mean_surface_distance_px"), (0.0, math.inf)),
    **dict.fromkeys(("absolute_volume_error", "absolute_volume_error_ml", "false_lesions_per_scan"), (0.0, math.inf)),
    "volume_error": (-1.0, math.inf),
}
"""Range that a metric cannot leave; intervals of its mean stay within it. A metric that is not here has none."""


def score_case(case: CaseMasks) -> dict[str, float | None]:
    """Return every metric of a case, by name."""
    return {name: metric(case) for name, metric in PATIENT_METRICS.items()}


def mean_of_cases(cases: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of every metric over a patient's cases, as far as it is defined, by name."""
    scored = list(cases)
    return {name: mean_defined([case[name] for case in scored]) for name in PATIENT_METRICS}
