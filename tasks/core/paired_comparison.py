"""Comparison of two evaluations of the same patients, by paired differences of Dice.

Patients differ more from each other than two models do on one patient, so differences within patients show what two
means with their intervals do not.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from tasks.core.errors import ConfigError
from tasks.core.intervals import summary_of
from tasks.core.plural import counted
from tasks.core.record import Record

MAX_NAMED: Final = 5
"""Largest number of patients that a sentence names."""

Row = Mapping[str, Any]  # Any: a figure or a name of `per_patient`


class PairedPatient(Record):
    """Patient of two evaluations.

    Attributes:
        dice: Dice now; None if it is undefined, as the next two.
        earlier_dice: Dice in the earlier evaluation.
        difference: Dice now minus then; None if one of them is undefined.
        is_worse: Whether Dice fell. In a patient without lesions, also whether there are false positives only now.
    """

    patient_id: str
    source: str
    dice: float | None
    earlier_dice: float | None
    difference: float | None
    is_worse: bool


class PairedComparison(Record):
    """Comparison with an earlier evaluation of the same patients.

    Attributes:
        earlier_uri: Where its metrics are, as shown.
        earlier_model_digest: Digest of the bundle it scored.
        difference: Mean of the differences of Dice with intervals, median and counts, as in `per_patient_mean.metrics`.
        n_left_out: Patients whose slices or references differ, which are in no figure.
        patients: All others, the worst difference first.
    """

    earlier_uri: str
    earlier_model_digest: str
    difference: dict[str, Any]  # Any: a number, an interval or a count by name
    n_left_out: int
    patients: tuple[PairedPatient, ...]

    @property
    def worse(self) -> tuple[PairedPatient, ...]:
        """Patients that got worse."""
        return tuple(patient for patient in self.patients if patient.is_worse)

    def sentence(self) -> str:
        """Return the result in words: the mean difference, whether it may be chance, and how many got worse."""
        mean, interval = self.difference["mean"], self.difference["t_ci95"]
        if mean is None:
            return "No patient has a Dice in both evaluations."
        patients = counted(self.difference["n_defined"], "patient")
        if interval is None:
            verdict = "too few patients for an interval"
        else:
            shown = f"95 % interval by Student's t {interval[0]:+.3f} to {interval[1]:+.3f}"
            verdict = f"{shown}, {_verdict(interval)}"
        worse = f"{len(self.worse)} of {counted(len(self.patients), 'patient')} got worse"
        return f"Mean difference of Dice over {patients}: {mean:+.3f} ({verdict}). {worse}."


def _verdict(interval: Sequence[float]) -> str:
    if interval[0] > 0:
        return "better"
    return "worse" if interval[1] < 0 else "may be chance"


def require_same_patients(patients: Collection[str], earlier: Collection[str]) -> None:
    """Refuse to compare evaluations of different patients.

    Raises:
        ConfigError: If a patient is in one of them only.
    """
    new, gone = sorted(set(patients) - set(earlier)), sorted(set(earlier) - set(patients))
    if new or gone:
        raise ConfigError(
            f"evaluation.compare_with holds other patients than this split of the dataset: {_named(new)} only here, "
            f"{_named(gone)} only there. Name an evaluation of the same dataset and split, or empty it."
        )


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
        difference=summary_of([patient.difference for patient in patients]),
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


def _named(patients: Sequence[str]) -> str:
    """Return the first of some patients, and how many more there are."""
    if not patients:
        return "none"
    more = f" and {len(patients) - MAX_NAMED} more" if len(patients) > MAX_NAMED else ""
    return f"{', '.join(patients[:MAX_NAMED])}{more}"
