"""Arrangement of slices: which series lie on one even grid, where each slice stands, and why others are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import DataError
from tasks.core.slice_geometry import AXIAL, Arrangement, SlicePlane, arrange
from tasks.core.volumes import LPS_TO_RAS

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
STEPS = st.sampled_from([0.5, 0.6, 0.625, 0.75, 0.8, 1.0, 1.25, 2.5, 3.0, 5.0])


def _plane(z: float, x: float = -150.0, **changes: object) -> SlicePlane:
    known = {"cosines": AXIAL, "pixel_spacing_mm": (0.7, 0.7), "shape": (64, 48)} | changes
    return SlicePlane(position=(x, -150.0, float(z)), **known)  # type: ignore[arg-type]  # a part of its fields


def _stored(found: Arrangement) -> list[int]:
    return [index for place, index in enumerate(found.order) if place not in found.missing]


@given(STEPS, st.integers(2, 400), st.sampled_from([0.1, 0.01, 0.001]), st.randoms())
def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even(
    step: float, n: int, rounding: float, random: object
) -> None:
    """However thin the slices, a series whose headers were rounded is taken, in order, on a grid through its ends."""
    heights = np.round(np.round((-300 + step * np.arange(n)) / rounding) * rounding, 6)
    indices = list(range(n))
    random.shuffle(indices)  # type: ignore[attr-defined]  # hypothesis' own Random
    found = arrange([_plane(heights[index]) for index in indices])
    assert [indices[index] for index in found.order] == list(range(n))
    assert not found.missing
    ends = (LPS_TO_RAS @ found.grid.affine @ np.array([[0, 0, 0, 1], [n - 1, 0, 0, 1]]).T).T[:, :3]
    np.testing.assert_allclose(ends, [(-150, -150, heights[0]), (-150, -150, heights[-1])], atol=1e-9)


@given(STEPS, st.integers(8, 120), st.data())
def test_a_series_with_gaps_stands_on_its_true_positions(step: float, n: int, data: st.DataObject) -> None:
    """Up to a third of the inner slices are missing: the others lie where they were, the gaps are named."""
    gone = data.draw(st.sets(st.integers(1, n - 2), min_size=1, max_size=max(1, n // 3)))
    kept = [place for place in range(n) if place not in gone]
    found = arrange([_plane(step * place) for place in kept])
    assert found.missing == tuple(sorted(gone))
    assert found.grid.shape[0] == n
    assert found.grid.spacing_mm[0] == pytest.approx(step)
    assert [kept[index] for index in _stored(found)] == kept
    assert found.warnings[0].startswith(f"{len(gone)} of {n} slices are missing;")


@pytest.mark.parametrize("gone", [(1, 3, 5), (1, 2, 3), (1, 4, 7)])
def test_every_second_slice_missing_at_one_end_is_no_other_step(gone: tuple[int, ...]) -> None:
    """Of nine places three are empty: the double step is the more frequent one, the single one is the grid's."""
    kept = [place for place in range(9) if place not in gone]
    found = arrange([_plane(0.5 * place) for place in kept])
    assert (found.missing, found.grid.shape[0]) == (gone, 9)


@given(STEPS, st.integers(10, 60), st.data())
def test_one_slice_off_the_grid_is_named(step: float, n: int, data: st.DataObject) -> None:
    """A slice moved by a third of the step, along the normal or beside it by more than that, is no rounding."""
    worst = data.draw(st.integers(1, n - 2))
    heights = step * np.arange(n)
    moved = [_plane(height + step * 0.3 * (place == worst)) for place, height in enumerate(heights)]
    beside = [_plane(height, x=-150 + (step + 1) * (place == worst)) for place, height in enumerate(heights)]
    if 0.3 * step > 0.11:
        with pytest.raises(DataError, match="mm, elsewhere") as error:
            arrange(moved)
        assert error.value.code == "unequal_spacing"
    with pytest.raises(DataError, match=f"^Slice {worst + 1} lies ") as error:
        arrange(beside)
    assert error.value.code == "shifted_slices"


def test_a_middle_thirty_millimetres_aside_is_no_gantry_tilt() -> None:
    """The outer thirds lie above each other, the middle third beside them: a shift, and said so."""
    planes = [_plane(3 * place, x=-150 + 30 * (10 <= place < 20)) for place in range(30)]
    with pytest.raises(DataError, match=r"lies 30 mm beside the others") as error:
        arrange(planes)
    assert error.value.code == "shifted_slices"


def test_distances_that_drift_are_no_even_grid() -> None:
    """No gap is off by a tenth, and slice 31 still lies 4.1 mm from where the mask would put it."""
    heights = np.concatenate([3.0 * np.arange(30), 87 + 3.28 * np.arange(1, 31)])
    with pytest.raises(DataError, match=r"from 3 to 3.28 mm: slice 3[01] lies 4.1 mm off an even grid"):
        arrange([_plane(height) for height in heights])


def test_a_tilted_gantry_is_named_with_its_angle() -> None:
    """Slices stacked on a straight line at an angle to their plane."""
    shift = np.tan(np.radians(15)) * 3
    with pytest.raises(DataError, match=r"tilted by 15.0°"):
        arrange([_plane(3 * place, x=shift * place) for place in range(20)])


def test_most_of_a_series_missing_is_a_refusal() -> None:
    """Eleven of thirty places have a slice; where the others stood would be a guess."""
    kept = [0, 1, 2, 3, 9, 10, 16, 17, 23, 24, 29]
    with pytest.raises(DataError, match=r"19 of 30 slices are missing") as error:
        arrange([_plane(5 * place) for place in kept])
    assert error.value.code == "missing_slices"


def test_two_slices_at_one_position_are_a_refusal() -> None:
    """Which of the two is meant is not guessed here."""
    with pytest.raises(DataError, match=r"1 slice too many"):
        arrange([_plane(height) for height in (0, 3, 6, 6, 9)])


def test_an_unusual_orientation_is_said() -> None:
    """A sagittal series is turned to be read, with a warning."""
    planes = [SlicePlane((3.0 * place, 0.0, 0.0), SAGITTAL, (1.0, 1.0), (8, 8)) for place in range(4)]
    assert "not the usual axial" in arrange(planes).warnings[0]
