"""Paired differences of Dice between two evaluations of the same patients.

Patients differ more from each other than two models do on one patient, so differences within patients show what two
means with their intervals do not. Apart from the record, because this needs SciPy, which a segmentation does without.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.core.intervals import summary_of
from tasks.core.paired_comparison import PairedComparison, PairedPatient

Row = Mapping[str, Any]  # Any: a figure or a name of `per_patient`


def compare_patients(
    rows: Sequence[Row], earlier_rows: Sequence[Row], *, earlier_uri: str, earlier_model_digest: str
) -> PairedComparison:
    """Return the comparison of two evaluations.

    Args:
        rows: `per_patient` of this one.
        earlier_rows: Of the earlier one, with the same patients in any order.
        earlier_uri: Where it is, as shown.
        earlier_model_digest: Digest of the bundle it scored.
    """
    before = {row["patient_id"]: row for row in earlier_rows}
    alike = [row for row in rows if row["patient_id"] in before and _size(row) == _size(before[row["patient_id"]])]
    patients = [_paired(row, before[row["patient_id"]]) for row in alike]
    patients.sort(key=lambda patient: (not patient.is_worse, patient.difference or 0.0, patient.patient_id))
    return PairedComparison(
        earlier_uri=earlier_uri,
        earlier_model_digest=earlier_model_digest,
        difference=summary_of([patient.difference for patient in patients], within=(-1.0, 1.0)),
        n_left_out=len(rows) - len(alike),
        patients=tuple(patients),
    )


def _size(row: Row) -> tuple[int, int, int]:
    """Return slices, lesion pixels and all pixels of a patient's references, which are alike if nothing has changed."""
    return row["n_slices"], row["tp"] + row["fn"], row["tp"] + row["fp"] + row["fn"] + row["tn"]


def _paired(row: Row, earlier: Row) -> PairedPatient:
    dice, earlier_dice = row["dice"], earlier["dice"]
    difference = dice - earlier_dice if dice is not None and earlier_dice is not None else None
    return PairedPatient(
        patient_id=row["patient_id"],
        source=row["source"],
        dice=dice,
        earlier_dice=earlier_dice,
        difference=difference,
        is_worse=difference < 0 if difference is not None else dice is not None,
    )
