"""Statistics of a dataset by source: patients, slices, their grids and how much lesion they show."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tasks.core.record import Record
from tasks.core.rows import CaseRow


class Spread(Record):
    """Median of some values, and the 5th and 95th percentile around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self | None:
        """Return the spread of values; None without any."""
        if not values:
            return None
        low, median, high = (round(float(each), 6) for each in np.quantile(values, (0.05, 0.5, 0.95)))
        return cls(low=low, median=median, high=high)


class SourceStatistics(Record):
    """Statistics of a source of a dataset.

    Attributes:
        source: Its name, as patients are named.
        n_patients: Patients.
        n_cases: Cases.
        n_slices: Slices in the dataset.
        n_lesion_slices: Those of them with lesion.
        lesion_fraction: Share of a slice that is lesion, of slices with lesion.
        side_px: Shorter side of the slices in the source.
        slice_spacing_mm: Between slices of volumes; None without any, as below.
        pixel_spacing_mm: Between columns of volumes.
        field_of_view_mm: Shorter side of slices of volumes.
    """

    source: str
    n_patients: int
    n_cases: int
    n_slices: int
    n_lesion_slices: int
    lesion_fraction: Spread | None
    side_px: Spread | None
    slice_spacing_mm: Spread | None
    pixel_spacing_mm: Spread | None
    field_of_view_mm: Spread | None


@dataclass(frozen=True, slots=True)
class SliceMeasures:
    """Measures of a slice that was written.

    Attributes:
        lesion_fraction: Share of it that is lesion, at the model's size.
        side_px: Its shorter side in the source.
        spacing_mm: Spacing between slices, rows and columns; None for slice files.
    """

    lesion_fraction: float
    side_px: int
    spacing_mm: Sequence[float] | None = None


def statistics_of(
    cases: Sequence[CaseRow], measures: Mapping[tuple[str, int], SliceMeasures]
) -> tuple[SourceStatistics, ...]:
    """Return the statistics of each source, by name.

    Args:
        cases: Rows of `cases.parquet`.
        measures: Of each slice, by case and position.
    """
    source_of = {case.case_id: case.source for case in cases}
    slices: dict[str, list[SliceMeasures]] = defaultdict(list)
    for (case_id, _), of_slice in measures.items():
        slices[source_of[case_id]].append(of_slice)
    return tuple(_of_source(name, cases, slices[name]) for name in sorted(slices))


def _of_source(name: str, cases: Sequence[CaseRow], slices: Sequence[SliceMeasures]) -> SourceStatistics:
    own = [case for case in cases if case.source == name]
    sick = [of.lesion_fraction for of in slices if of.lesion_fraction]
    spacings = [of.spacing_mm for of in slices if of.spacing_mm]
    return SourceStatistics(
        source=name,
        n_patients=len({case.patient_id for case in own}),
        n_cases=len({case.case_id for case in own}),
        n_slices=len(slices),
        n_lesion_slices=len(sick),
        lesion_fraction=Spread.of(sick),
        side_px=Spread.of([of.side_px for of in slices]),
        slice_spacing_mm=Spread.of([spacing[0] for spacing in spacings]),
        pixel_spacing_mm=Spread.of([spacing[2] for spacing in spacings]),
        field_of_view_mm=Spread.of([of.side_px * of.spacing_mm[2] for of in slices if of.spacing_mm]),
    )
