"""Audit of a dataset for leakage: what would make scores of its test patients too good."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.catalog import Split
from tasks.core.near_duplicates import THUMBNAIL_PX, find_near_duplicates
from tasks.core.plural import counted
from tasks.core.rows import CaseRow, DuplicateRow
from tasks.core.schemas import LeakageAudit
from tasks.io.outputs.datasets import DUPLICATES_FILE

MAX_SLICES = 50_000
"""Slices that are compared with each other; of more, an even sample. These take some minutes and 1.5 GB."""


@dataclass(frozen=True, slots=True)
class Leakage:
    """Outcome of an audit: its figures, and every pair that was found."""

    audit: LeakageAudit
    duplicates: Sequence[DuplicateRow]

    def warnings(self) -> Iterator[str]:
        """Yield what a reader of the dataset's scores must know."""
        audit = self.audit
        n_known = audit.n_near_duplicates - audit.n_single
        if n_known:
            yield (
                f"{counted(n_known, 'pair')} of slices of different patients are nearly the same. {DUPLICATES_FILE} "
                "lists them. Are they one patient? Then give them one patient_id."
            )
        if audit.n_single:
            yield (
                f"{counted(audit.n_single, 'pair')} of slices, each the only one of its patient, are nearly the same. "
                "They look like neighbouring slices of one patient: set preparation.patient_id_pattern, or list the "
                f"patients in an index.csv. {DUPLICATES_FILE} lists them."
            )
        if audit.n_across_splits:
            yield (
                f"{counted(audit.n_across_splits, 'pair')} of nearly the same slices lie in different splits: scores "
                "may be too high."
            )
        if audit.n_slices < audit.n_all_slices:
            yield (
                f"only {audit.n_slices:,} of {audit.n_all_slices:,} slices were compared with those of other patients: "
                "of pairs that are nearly the same a part is found."
            )


def audit_leakage(
    thumbnails: Mapping[tuple[str, int], bytes],
    cases: Sequence[CaseRow],
    split_of: Mapping[tuple[str, int], Split],
) -> Leakage:
    """Return the leakage of a dataset.

    Args:
        thumbnails: Thumbnail of each slice that was written, uint8 `(48, 48)`, by `slice_key`.
        cases: Rows of `cases.parquet`.
        split_of: Split of each slice.
    """
    patient_of = {case.case_id: case.patient_id for case in cases}
    keys = sorted(thumbnails)
    if len(keys) > MAX_SLICES:
        keys = [keys[index] for index in np.linspace(0, len(keys) - 1, MAX_SLICES).astype(int)]
    pixels = np.frombuffer(b"".join(thumbnails[key] for key in keys), np.uint8).reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)
    rows = [
        _row(keys[found.first], keys[found.second], found.similarity, patient_of, split_of)
        for found in find_near_duplicates(pixels, [patient_of[case_id] for case_id, _ in keys])
    ]
    n_slices = Counter(patient_of[case_id] for case_id, _ in thumbnails)
    n_splits = Counter(patient for patient, _ in {(case.patient_id, case.split) for case in cases})
    return Leakage(
        LeakageAudit(
            n_slices=len(keys),
            n_patients_in_several_splits=sum(n > 1 for n in n_splits.values()),
            n_near_duplicates=len(rows),
            n_across_splits=sum(row.split != row.other_split for row in rows),
            n_single=sum(n_slices[row.patient_id] == n_slices[row.other_patient_id] == 1 for row in rows),
            n_all_slices=len(thumbnails),
        ),
        rows,
    )


def _row(
    one: tuple[str, int],
    other: tuple[str, int],
    similarity: float,
    patient_of: Mapping[str, str],
    split_of: Mapping[tuple[str, int], Split],
) -> DuplicateRow:
    return DuplicateRow(
        case_id=one[0],
        slice_index=one[1],
        patient_id=patient_of[one[0]],
        split=split_of[one],
        other_case_id=other[0],
        other_slice_index=other[1],
        other_patient_id=patient_of[other[0]],
        other_split=split_of[other],
        similarity=round(similarity, 4),
    )
