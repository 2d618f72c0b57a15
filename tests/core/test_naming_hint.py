"""Hints for unknown names: a pattern is offered only where it gives several slices to several patients."""

import pytest

from tasks.core.naming_hint import ONE_EACH, pattern_that_fits
from tasks.core.naming_rules import SliceName, custom_naming, identify_slice


@pytest.mark.parametrize(
    "name",
    [
        "patient{p}/{s:03d}",
        "cohort/p{p}/slice{s}",
        "P{p:03d}_CT_slice_{s}",
        "P{p:03d}-{s}",
        "case{p} z{s}",
        "lung.{p}.{s}",
        "anna{p}_img{s:04d}",
        "{p}_{s}",
    ],
)
def test_the_pattern_finds_the_patients_of_usual_names(name: str) -> None:
    """Six patients with ten slices each, by folder, by a first word, or by what stands before the last number."""
    paths = [name.format(p=patient, s=number) for patient in range(6) for number in range(10)]
    found = pattern_that_fits([SliceName(path) for path in paths])
    assert found is not None
    pattern, n_patients = found
    naming = custom_naming(pattern)
    groups = {tuple(identify_slice(path, naming).patient_id for path in paths[n : n + 10]) for n in range(0, 60, 10)}
    assert n_patients == 6
    assert all(len(set(group)) == 1 for group in groups)


@pytest.mark.parametrize(
    "paths",
    [
        ["anna", "bert", "carla", "doris"],
        ["scan_1", "scan_2", "scan_3", "scan_4"],
        ["a1", "b1", "c1", "d1"],
        [],
    ],
)
def test_no_pattern_is_offered_where_names_share_nothing(paths: list[str]) -> None:
    """One patient, or one slice of each, is nothing to distinguish."""
    assert pattern_that_fits([SliceName(path) for path in paths]) is None


@pytest.mark.parametrize(
    ("stem", "folder", "n_patients"),
    [
        ("{s:03d}", "p{p}", 6),
        ("v{v}/{s:03d}", "p{p}", 6),
        ("P{p}_{s}", "ward", 6),
        ("{p}{s:03d}", "train", None),
    ],
)
def test_the_patient_may_be_the_folder_above(stem: str, folder: str, n_patients: int | None) -> None:
    """Where names alone say no patient; with visits below they are one patient, and train/ is none."""
    names = [
        SliceName(stem.format(p=patient, s=number, v=number % 2), folder.format(p=patient))
        for patient in range(6)
        for number in range(10)
    ]
    found = pattern_that_fits(names)
    assert (found and found[1]) == n_patients
    if found:
        naming = custom_naming(found[0])
        patients = {identify_slice(name.stem, naming, folder=name.folder).patient_id for name in names}
        assert len(patients) == n_patients


def test_every_slice_may_be_declared_a_patient() -> None:
    """The way out where slices are of different people all the same."""
    naming = custom_naming(ONE_EACH)
    assert {identify_slice(name, naming).patient_id for name in ("P0_1", "P0_2")} == {"P0_1", "P0_2"}
