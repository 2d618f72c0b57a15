"""What a dataset says of its cases."""

import pytest

from tasks.core.rows import SlicePair
from tasks.stages.dataset_card import cases_of, slice_key, warnings_of_masks

PAIRS = [
    SlicePair(
        case_id="c",
        slice_index=n,
        patient_id="p",
        source="s",
        image_uri=f"file:///i/{n}.png",
        mask_uri=f"file:///m/{n}.png",
        fingerprint=str(n),
    )
    for n in range(4)
]


def test_a_case_counts_the_slices_it_lost() -> None:
    """A rejected slice is missing from the dataset and not from the case, so that nobody takes the rest for all."""
    [case] = cases_of(PAIRS, dict.fromkeys(map(slice_key, PAIRS), "test"), {("c", 1): 0.5, ("c", 2): 0.0})
    assert (case.n_slices, case.n_source_slices, case.lesion_fraction) == (2, 4, 0.25)


def test_a_case_split_by_slice_counts_its_slices_on_every_side() -> None:
    """Of a case in two splits each part says how large the whole case is."""
    split_of = {slice_key(pair): "train" if pair.slice_index else "test" for pair in PAIRS}
    cases = cases_of(PAIRS, split_of, {slice_key(pair): 0.0 for pair in PAIRS})
    assert [(case.split, case.n_slices, case.n_source_slices) for case in cases] == [("test", 1, 4), ("train", 3, 4)]


@pytest.mark.parametrize(
    ("fractions", "said"),
    [
        ([0.0, 0.1, 0.2, 0.0], None),
        ([0.96, 0.97, 1.0, 1.0], "1 of 1 patient have a slice with lesion on more than 30% of it (100% at most)."),
        ([0.0, 0.0, 0.0, 0.0], "1 of 1 patient have no lesion in any slice."),
    ],
)
def test_masks_that_are_hardly_meant_are_warned_of(fractions: list[float], said: str | None) -> None:
    """Inverted ones, and patients of whom nothing was drawn."""
    found = {slice_key(pair): fraction for pair, fraction in zip(PAIRS, fractions, strict=True)}
    cases = cases_of(PAIRS, dict.fromkeys(found, "test"), found)
    assert [warning.startswith(said or "") for warning in warnings_of_masks(cases, found)] == [True] * bool(said)
