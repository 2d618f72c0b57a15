"""Slices that stand for a scan."""

import pytest

from tasks.core.pictures.key_slices import key_slices


@pytest.mark.parametrize(
    ("areas", "shown"),
    [
        ([7], [0]),
        ([0], [0]),
        ([0] * 9, [2, 4, 6]),
        ([0, 5, 0, 0], [1]),
        ([0] * 10 + [1] * 16 + [9] + [1] * 4, [15, 25, 26]),  # lesions in 10 to 30, largest in 26
    ],
)
def test_the_largest_lesion_and_a_quarter_from_either_end_are_shown(areas: list[int], shown: list[int]) -> None:
    """Of a scan without lesion its middle; no slice twice."""
    assert key_slices(areas) == shown
