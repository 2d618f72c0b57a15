"""What an audit says of slices that two patients share."""

import numpy as np

from tasks.core.catalog import Split
from tasks.core.near_duplicates import thumbnail
from tasks.core.rows import CaseRow
from tasks.stages import leakage
from tasks.stages.leakage import Leakage, audit_leakage
from tests.anatomy import anatomy

Key = tuple[str, int]


def _audit(slices: dict[Key, np.ndarray], patients: dict[str, str], splits: dict[str, Split]) -> Leakage:
    cases = [
        CaseRow(
            case_id=case,
            patient_id=patient,
            source="s",
            split=splits[case],
            n_slices=1,
            n_source_slices=1,
            lesion_fraction=0.0,
            source_uri="",
            source_fingerprint="",
        )
        for case, patient in patients.items()
    ]
    thumbnails = {key: thumbnail(image).tobytes() for key, image in slices.items()}
    return audit_leakage(thumbnails, cases, {key: splits[key[0]] for key in slices})


def _volume(case: str, patient: int, n: int = 3) -> dict[Key, np.ndarray]:
    return {(case, number): anatomy(patient, number, size_px=96) for number in range(n)}


def test_one_volume_under_two_patients_is_found_across_splits() -> None:
    """Every slice is a pair, with both patients and splits; the warning counts them and says what to do."""
    slices = _volume("a", 1) | _volume("b", 2) | _volume("c", 1)
    found = _audit(slices, {"a": "anna", "b": "ben", "c": "cleo"}, {"a": "train", "b": "train", "c": "test"})
    assert [(row.slice_index, row.other_slice_index) for row in found.duplicates] == [(0, 0), (1, 1), (2, 2)]
    assert {(row.patient_id, row.other_patient_id) for row in found.duplicates} == {("anna", "cleo")}
    assert {(row.split, row.other_split) for row in found.duplicates} == {("train", "test")}
    assert (found.audit.n_slices, found.audit.n_near_duplicates, found.audit.n_across_splits) == (9, 3, 3)
    pairs, across = found.warnings()
    assert pairs.startswith(
        "3 pairs of slices of different patients are nearly the same. duplicates.parquet lists them."
    )
    assert across == "3 pairs of nearly the same slices lie in different splits: scores may be too high."
    same_split = _audit(slices, {"a": "anna", "b": "ben", "c": "cleo"}, dict.fromkeys("abc", "train"))
    assert not any("scores may be too high" in warning for warning in same_split.warnings())


def test_patients_apart_leave_nothing_to_say() -> None:
    """No pair, no warning."""
    found = _audit(_volume("a", 1) | _volume("b", 2), {"a": "anna", "b": "ben"}, {"a": "train", "b": "test"})
    assert (found.audit.n_near_duplicates, found.duplicates, [*found.warnings()]) == (0, [], [])


def test_neighbours_whose_names_say_nothing_look_like_one_patient() -> None:
    """Patients of one slice each that are nearly the same: a pattern for their names is what is missing."""
    slices = {(f"x{number}", 0): image for (_, number), image in _volume("a", 1).items()}
    patients = {case: case for case, _ in slices}
    found = _audit(slices, patients, dict.fromkeys(patients, "train"))
    assert found.audit.n_single == found.audit.n_near_duplicates > 0
    [warning] = found.warnings()
    assert "neighbouring slices of one patient: set preparation.patient_id_pattern" in warning


def test_a_patient_on_two_sides_is_counted() -> None:
    """By the cases of a split by slice; the patient's own slices are no pairs."""
    slices = _volume("a", 1) | _volume("b", 1)
    found = _audit(slices, {"a": "anna", "b": "anna"}, {"a": "train", "b": "test"})
    assert (found.audit.n_patients_in_several_splits, found.audit.n_near_duplicates) == (1, 0)


def test_of_too_many_slices_an_even_sample_is_compared(monkeypatch) -> None:
    """The card says how many were."""
    monkeypatch.setattr(leakage, "MAX_SLICES", 4)
    found = _audit(_volume("a", 1, n=9), {"a": "anna"}, {"a": "train"})
    assert (found.audit.n_slices, found.audit.n_all_slices) == (4, 9)
    [warning] = found.warnings()
    assert warning.startswith("only 4 of 9 slices were compared")
