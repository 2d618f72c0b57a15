"""Lesions are counted in three dimensions, matched by overlap, and told apart by size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from tasks.core.lesions import (
    MATCHED_SHARE,
    SIZE_LIMITS_ML,
    SIZE_LIMITS_VOXELS,
    LesionCounts,
    add_by_size,
    bounding_box,
    count_lesions,
)

MASKS = hnp.arrays(np.uint8, (2, 3, 5, 7), elements=st.integers(0, 4).map(lambda n: int(n == 0)))


@settings(max_examples=50)
@given(MASKS)
def test_lesions_are_those_of_scipy(masks: np.ndarray) -> None:
    """Counting label by label over the whole arrays gives the same numbers."""
    counts = []
    for mask, other in ((masks[1], masks[0]), (masks[0], masks[1])):
        labels, n = ndimage.label(mask, structure=np.ones((3, 3, 3)))
        counts.append((n, sum(other[labels == label].mean() >= MATCHED_SHARE for label in range(1, n + 1))))
    (n_reference, n_found), (n_predicted, n_right) = counts
    expected = LesionCounts(n_reference, n_found, n_predicted, n_predicted - n_right)
    assert sum(count_lesions(*masks, None), LesionCounts()) == expected


@pytest.mark.parametrize(("n_shared", "n_found"), [(0, 0), (4, 0), (5, 1), (20, 1)])
def test_a_lesion_is_found_from_a_quarter_of_it(n_shared: int, n_found: int) -> None:
    """Of twenty voxels four are too few; the prediction, which lies in the lesion, is right in any case."""
    reference, prediction = np.zeros((2, 1, 3, 30), np.uint8)
    reference[0, 1, 5:25] = 1
    prediction[0, 1, 5 : 5 + n_shared] = 1
    [counts, *_] = count_lesions(prediction, reference, None)
    assert counts == LesionCounts(1, n_found, int(n_shared > 0), 0)


def test_one_prediction_may_find_several_lesions() -> None:
    """Lesions that the prediction merges are found one by one; the prediction is one, and right."""
    reference, prediction = np.zeros((2, 1, 3, 30), np.uint8)
    reference[0, 1, 2:8] = reference[0, 1, 12:20] = 1
    prediction[0, 1, 2:20] = 1
    [counts, *_] = count_lesions(prediction, reference, None)
    assert counts == LesionCounts(2, 2, 1, 0)
    assert (counts.recall, counts.precision, counts.f1) == (1.0, 1.0, 1.0)


def test_a_prediction_over_everything_is_false_where_lesions_are_few() -> None:
    """It finds the lesion, but less than a quarter of it is lesion."""
    reference, prediction = np.zeros((1, 10, 30), np.uint8), np.ones((1, 10, 30), np.uint8)
    reference[0, 1, 2:8] = 1
    [found, _, _] = count_lesions(prediction, reference, None)
    assert found == LesionCounts(1, 1, 1, 1)
    assert found.f1 == 0.0


@pytest.mark.parametrize("spacing_mm", [None, (2.0, 1.0, 0.5)])
def test_sizes_are_in_ml_where_there_is_spacing(spacing_mm: tuple[float, float, float] | None) -> None:
    """A cube just below the first limit is small, at it medium; beyond the second it is large."""
    per_ml = 1000 / np.prod(spacing_mm) if spacing_mm else 1
    limits = [int(limit * per_ml) for limit in (SIZE_LIMITS_ML if spacing_mm else SIZE_LIMITS_VOXELS)]
    for n_voxels, size in ((limits[0] - 1, 0), (limits[0], 1), (limits[1] - 1, 1), (limits[1], 2)):
        mask = np.zeros((1, 100, 200), np.uint8)
        mask.reshape(-1)[:n_voxels] = 1
        counts = count_lesions(mask, mask, spacing_mm)
        assert [of.n_reference for of in counts] == [int(index == size) for index in range(3)]
        assert [of.n_found for of in counts] == [of.n_predicted for of in counts]


def test_sums_are_by_size() -> None:
    """Cases add up size by size; without a case there is nothing."""
    case = (LesionCounts(1, 1, 2, 1), LesionCounts(), LesionCounts(3, 2, 1, 0))
    assert add_by_size([case, case]) == (LesionCounts(2, 2, 4, 2), LesionCounts(), LesionCounts(6, 4, 2, 0))
    assert add_by_size([]) == (LesionCounts(),) * 3


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=st.integers(0, 1)))
def test_the_box_holds_the_mask_and_touches_it_on_every_side(mask: np.ndarray) -> None:
    """Nothing lies outside, and the first and last of each axis have a voxel; of an empty mask there is no box."""
    box = bounding_box(mask)
    if box is None:
        assert not mask.any()
        return
    inside = mask[box]
    assert inside.sum() == mask.sum()
    for axis in range(mask.ndim):
        assert np.take(inside, 0, axis).any()
        assert np.take(inside, -1, axis).any()
