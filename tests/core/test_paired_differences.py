import numpy as np
import pytest

from tasks.core.intervals import t_interval
from tasks.core.paired_comparison import PairedComparison
from tasks.core.paired_differences import compare_patients


def _row(patient_id: str, dice: float | None, *, n_slices: int = 5, tp: int = 6, tn: int = 88) -> dict[str, object]:
    return {
        "patient_id": patient_id,
        "source": "a",
        "dice": dice,
        "n_slices": n_slices,
        "tp": tp,
        "fp": 2,
        "fn": 4,
        "tn": tn,
    }


def _compare(now: list[dict[str, object]], before: list[dict[str, object]]) -> PairedComparison:
    return compare_patients(now, before, earlier_uri="file:///earlier", earlier_model_digest="b" * 64)


def test_differences_are_within_patients_whatever_their_order() -> None:
    """Each patient against themselves: mean and interval are of the differences, the worst patient comes first."""
    now = [_row("a", 0.8), _row("b", 0.5), _row("c", 0.9), _row("d", 0.7), _row("e", 0.5)]
    before = [_row("e", 0.45), _row("d", 0.6), _row("c", 0.7), _row("b", 0.55), _row("a", 0.9)]
    found = _compare(now, before)
    differences = [-0.1, -0.05, 0.05, 0.1, 0.2]
    assert [patient.patient_id for patient in found.patients] == ["a", "b", "e", "d", "c"]
    assert [patient.difference for patient in found.patients] == pytest.approx(differences)
    assert found.difference["mean"] == pytest.approx(np.mean(differences))
    assert found.difference["t_ci95"] == pytest.approx(t_interval(differences))
    assert [patient.patient_id for patient in found.worse] == ["a", "b"]
    assert "over 5 patients: +0.040" in found.sentence()
    assert "may be chance). 2 of 5 patients got worse." in found.sentence()


@pytest.mark.parametrize(
    ("step", "verdict"), [(0.1, "better"), (-0.1, "worse"), (0.0, "may be chance")], ids=["up", "down", "alike"]
)
def test_a_shift_of_every_patient_is_no_chance(step: float, verdict: str) -> None:
    """Patients that differ by much and move alike give a verdict that two means with intervals would not give."""
    before = [_row(name, dice) for name, dice in zip("abcde", (0.2, 0.3, 0.5, 0.7, 0.8), strict=True)]
    now = [_row(str(row["patient_id"]), float(row["dice"]) + step) for row in before]  # type: ignore[arg-type]
    assert f", {verdict})" in _compare(now, before).sentence()


def test_two_patients_have_no_interval() -> None:
    """The mean is given, and that patients are too few for more."""
    found = _compare([_row("a", 0.5), _row("b", 0.5)], [_row("a", 0.25), _row("b", 0.25)])
    assert found.sentence() == (
        "Mean difference of Dice over 2 patients: +0.250 (too few patients for an interval). 0 of 2 patients got worse."
    )


def test_false_lesion_that_is_new_in_a_patient_without_lesions_is_worse() -> None:
    """Dice was undefined and is 0 now: no difference, but worse; the other way round it is not."""
    found = _compare([_row("new", 0.0), _row("gone", None)], [_row("new", None), _row("gone", 0.0)])
    assert [(patient.patient_id, patient.difference, patient.is_worse) for patient in found.patients] == [
        ("new", None, True),
        ("gone", None, False),
    ]
    assert found.sentence() == "No patient has a Dice in both evaluations."


@pytest.mark.parametrize("change", [{"n_slices": 4}, {"tp": 7}, {"tn": 90}])
def test_a_patient_whose_slices_or_reference_changed_is_left_out(change: dict[str, int]) -> None:
    """Other slices, or other lesion pixels in the reference: its difference would not be the model's."""
    found = _compare([_row("a", 0.5), _row("b", 0.5)], [_row("a", 0.4), _row("b", 0.4, **change)])
    assert [patient.patient_id for patient in found.patients] == ["a"]
    assert found.n_left_out == 1
