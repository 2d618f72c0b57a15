"""Comparison of two evaluations of the same patients: its record, and the check that patients are the same."""

from collections.abc import Collection, Sequence
from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.numbers import TOO_FEW, shown_interval, signed, signed_interval
from tasks.core.plural import counted
from tasks.core.record import Record


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
        mean = self.difference["mean"]
        interval = shown_interval(self.difference["t_ci95"], self.difference["n_defined"])
        if mean is None:
            return "No patient has a Dice in both evaluations."
        patients = counted(self.difference["n_defined"], "patient")
        if interval is None:
            verdict = TOO_FEW
        else:
            shown = f"95 % interval by Student's t {signed_interval(interval)}"
            verdict = f"{shown}, {_verdict(interval)}"
        worse = f"{len(self.worse)} of {counted(len(self.patients), 'patient')} got worse"
        return f"Mean difference of Dice over {patients}: {signed(mean)} ({verdict}). {worse}."


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
            f"evaluation.compare_with holds other patients than this split of the dataset: {len(new)} only here, "
            f"{len(gone)} only there. Name an evaluation of the same dataset and split, or empty it."
        )
