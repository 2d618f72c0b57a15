from tasks.core.source_statistics import SliceMeasures, Spread, statistics_of
from tests.core.samples import CASE


def _case(case_id: str, patient_id: str, source: str, split: str = "train"):
    return CASE.model_copy(update={"case_id": case_id, "patient_id": patient_id, "source": source, "split": split})


def test_a_source_has_its_own_patients_slices_and_grids() -> None:
    """By name; what volumes have and slice files lack is null; lesion is that of slices with lesion."""
    cases = [_case("b1", "b_1", "b"), _case("a1", "a_1", "a"), _case("a2", "a_1", "a"), _case("a1", "a_1", "a", "val")]
    first, second = statistics_of(
        cases,
        {
            ("a1", 0): SliceMeasures(0.0, 512, [5, 0.7, 0.7]),
            ("a1", 1): SliceMeasures(0.02, 512, [5, 0.7, 0.7]),
            ("a2", 0): SliceMeasures(0.04, 630, None),
            ("b1", 3): SliceMeasures(0.0, 256),
        },
    )
    assert (first.source, first.n_patients, first.n_cases, first.n_slices, first.n_lesion_slices) == ("a", 1, 2, 3, 2)
    assert first.lesion_fraction == Spread(low=0.021, median=0.03, high=0.039)
    assert first.side_px == Spread(low=512, median=512, high=618.2)
    assert first.slice_spacing_mm == Spread(low=5, median=5, high=5)
    assert first.field_of_view_mm == Spread(low=358.4, median=358.4, high=358.4)
    assert (second.source, second.n_lesion_slices, second.lesion_fraction, second.slice_spacing_mm) == (
        *("b", 0),
        *(None, None),
    )
    assert second.pixel_spacing_mm is None
