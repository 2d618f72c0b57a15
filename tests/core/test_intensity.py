import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.errors import DataError
from tasks.core.intensity import binarise_mask, slice_to_uint8

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)


@given(hnp.arrays(np.uint8, SHAPES))
def test_8bit_values_stay_as_stored(pixels: np.ndarray) -> None:
    """An 8-bit slice is not stretched, so that a dark slice stays dark."""
    np.testing.assert_array_equal(slice_to_uint8(pixels), pixels)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[1000, 1100], [1051, 1200]], np.uint16), [[0, 128], [65, 255]]),  # 127.5 rounds to even
        (np.array([[-1024, 3071]], np.int16), [[0, 255]]),
        (np.array([[0.0, 0.5, 1.0, 0.2]], np.float64), [[0, 128, 255, 51]]),
        (np.array([[-128, 127]], np.int8), [[0, 255]]),
        (np.array([[False, True]]), [[0, 255]]),
    ],
)
def test_wide_values_are_stretched_to_full_scale(pixels: np.ndarray, expected: list[list[int]]) -> None:
    """The slice's minimum becomes 0, its maximum 255, what lies between is linear."""
    stretched = slice_to_uint8(pixels)
    assert stretched.dtype == np.uint8
    assert stretched.tolist() == expected


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_constant_wide_slice_is_black(dtype: type) -> None:
    """Without a range there is nothing to stretch: zero, not a division by zero."""
    assert slice_to_uint8(np.full((2, 3), 700, dtype)).tolist() == [[0, 0, 0], [0, 0, 0]]


@given(hnp.arrays(np.uint16, SHAPES))
def test_stretching_keeps_the_order_of_values(pixels: np.ndarray) -> None:
    """No pixel becomes brighter than one that was brighter before."""
    order = np.argsort(pixels, axis=None, kind="stable")
    assert (np.diff(slice_to_uint8(pixels).ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("on", [1, 255, 65535])
def test_binary_masks_become_zero_and_one(on: int) -> None:
    """{0, 1}, {0, 255} and {0, 65535} all mean background and lesion."""
    mask = binarise_mask(np.array([[0, on], [on, 0]], np.uint16), "binary")
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("value", [0, 1, 255, 65535])
def test_mask_of_one_value_is_binary(value: int) -> None:
    """A slice that is all background or all lesion is no error."""
    mask = binarise_mask(np.full((2, 2), value, np.uint16), "binary")
    assert mask.tolist() == [[int(value > 0)] * 2] * 2


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([[0, 1, 2]], "the 3 values {0, 1, 2}"),
        ([[0, 1, 255]], "the 3 values {0, 1, 255}"),
        ([[1, 2, 3, 4], [5, 6, 7, 8]], "the 8 values {1, 2, 3, 4, 5, 6, …}"),
    ],
)
def test_mask_that_is_not_binary_is_refused(values: list[list[int]], shown: str) -> None:
    """A mask of other values is rejected with the values found, the first six of them, and what to do."""
    with pytest.raises(DataError) as caught:
        binarise_mask(np.array(values, np.uint8), "binary")
    assert caught.value.code == "mask_values"
    assert shown in caught.value.sentence
    assert "mask_rule" in caught.value.sentence


@given(hnp.arrays(np.uint8, SHAPES))
def test_rule_nonzero_takes_any_value_as_lesion(values: np.ndarray) -> None:
    """Under `nonzero`, whatever is above 0 is lesion, and the mask is binary."""
    mask = binarise_mask(values, "nonzero")
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[int(value != 0) for value in row] for row in values.tolist()]


@given(hnp.arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 255])))
def test_both_rules_agree_on_binary_masks(values: np.ndarray) -> None:
    """Where the strict rule takes a mask, the lenient one reads the same."""
    np.testing.assert_array_equal(binarise_mask(values, "binary"), binarise_mask(values, "nonzero"))


@pytest.mark.parametrize(
    "pixels",
    [
        np.array([[2**24, 2**24 + 1]], np.int64),
        np.array([[2**24, 2**24 + 1]], np.float64),
        np.array([[0, 1e300]]),
        np.array([[0, 1e-42]], np.float32),
    ],
    ids=["int64", "float64", "huge", "tiny"],
)
def test_any_range_is_stretched(pixels: np.ndarray) -> None:
    """Neither large offsets nor extreme ranges are lost to single precision."""
    assert slice_to_uint8(pixels).tolist() == [[0, 255]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(bad: float) -> None:
    """A slice with an undefined or infinite pixel is rejected under a code of its own."""
    with pytest.raises(DataError, match="1 pixels are not a number") as caught:
        slice_to_uint8(np.array([[bad, 1.0, 2.0]]))
    assert caught.value.code == "non_finite"


@pytest.mark.parametrize("on", [1, 255, 65535])
def test_half_of_full_scale_tells_lesion_in_any_depth(on: int) -> None:
    """A mask of 0 and 1 is no empty one, and what a lossy format leaves around black and white is cut off."""
    near = max(on // 10, 0)
    values = np.array([[0, on], [near, on - near]], np.uint16)
    np.testing.assert_array_equal(binarise_mask(values, "half"), [[0, 1], [0, 1]])


@pytest.mark.parametrize(
    ("values", "advice"), [([0, 1, 2, 3], "to nonzero"), ([*range(30), 240, 250, 255], "to half if it was saved")]
)
def test_the_advice_fits_what_the_mask_holds(values: list[int], advice: str) -> None:
    """Labels count if they are above 0; of a JPEG that would double the lesion."""
    with pytest.raises(DataError, match=advice):
        binarise_mask(np.array([values], np.uint8), "binary")
