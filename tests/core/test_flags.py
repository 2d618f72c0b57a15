"""Flags: each is raised by its own fact beyond its own limit, and by nothing that is unknown."""

from dataclasses import fields, replace

import pytest

from tasks.core.flags import FLAGS, FlagLimits, ScanFacts, flags_of

CLEAN = ScanFacts(
    n_lesions=3,
    lesion_voxels=4000,
    lesion_ml=40.0,
    lung_like_share=0.15,
    drift=0.5,
    quality=0.75,
    lung_share=0.12,
    lung_ml=4500.0,
    outside_lung=0.02,
    involvement=0.01,
    end_share=0.05,
    border_share=0.0,
    missing_share=None,
    step_mm=1.5,
    width_mm=360.0,
)
RAISED: dict[str, dict[str, object]] = {
    "no_lesion": {"n_lesions": 0, "lesion_voxels": 0},
    "hu_implausible": {"lung_like_share": 0.001},
    "out_of_domain": {"drift": 1.2},
    "low_quality": {"quality": 0.3},
    "faint_lesion": {"faint": 0.2},
    "no_lung": {"lung_share": 0.001},
    "lung_small": {"lung_ml": 300.0},
    "lung_large": {"lung_ml": 20_000.0},
    "lesion_outside_lung": {"outside_lung": 0.9},
    "involvement_implausible": {"involvement": 0.95},
    "many_lesions": {"n_lesions": 900},
    "lesion_large": {"lesion_ml": 9000.0},
    "lung_cut_at_ends": {"end_share": 0.8},
    "lung_cut_at_border": {"border_share": 0.3},
    "slices_missing": {"missing_share": 0.02},
    "slices_far_apart": {"step_mm": 15.0},
    "field_of_view_small": {"width_mm": 120.0},
    "reader_warning": {"n_warnings": 1},
}


def test_every_flag_has_its_case_here() -> None:
    """A new flag joins the tests below by being added to them."""
    assert FLAGS.keys() == RAISED.keys()


def test_a_clean_scan_has_no_flag() -> None:
    """Nor has one of which nothing is known but that it has a lesion."""
    assert flags_of(CLEAN, FlagLimits()) == []
    assert flags_of(ScanFacts(n_lesions=1, lesion_voxels=5), FlagLimits()) == []


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_is_raised_by_its_own_fact_alone(name: str) -> None:
    """Only this one, and no more if the fact is unknown."""
    facts = replace(CLEAN, **RAISED[name])
    assert flags_of(facts, FlagLimits()) == [name]
    unknown = {key: None for key, value in RAISED[name].items() if not isinstance(value, int)}
    if unknown:
        assert flags_of(replace(facts, **unknown), FlagLimits()) == []


def test_limits_of_a_bundle_decide() -> None:
    """Each limit, moved out of the way, lets its flag go: one limit per flag, but for the empty mask."""
    generous = {
        name: type(value)(-1e9 if name.startswith("min_") else 1e9) for name, value in FlagLimits().model_dump().items()
    }
    assert len(generous) == len(FLAGS) - 1
    for name, changes in RAISED.items():
        found = flags_of(replace(CLEAN, **changes), FlagLimits.model_validate(generous))
        assert found == (["no_lesion"] if name == "no_lesion" else [])


def test_every_flag_has_a_sentence_for_its_reader() -> None:
    """A full sentence each, and no two alike."""
    sentences = [flag.sentence for flag in FLAGS.values()]
    assert all(text[0].isupper() and text[-1] in ".?" for text in sentences)
    assert len({*sentences}) == len(FLAGS)
    assert {field.name for field in fields(ScanFacts)} >= {key for changes in RAISED.values() for key in changes}
