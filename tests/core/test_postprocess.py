import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from tasks.core.postprocess import drop_small_lesions, probability_level, threshold_probability

EVERY_LEVEL = np.arange(256, dtype=np.uint8)
MASKS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1))


@pytest.mark.parametrize(
    ("threshold", "level"), [(0.5, 128), (0.2, 51), (0.6, 153), (0.999, 255), (0.0001, 1), (127.4 / 255, 128)]
)
def test_level_is_the_smallest_that_reaches_the_threshold(threshold: float, level: int) -> None:
    """By hand: 0.5 of 255 is 127.5, so 128 is the first stored probability that reaches it."""
    assert probability_level(threshold) == level


def test_threshold_at_a_stored_level_is_that_level() -> None:
    """No rounding pushes a threshold that is a stored probability to the next one."""
    assert [probability_level(level / 255) for level in range(1, 255)] == list(range(1, 255))


@given(st.floats(0.001, 0.999))
def test_pixels_at_or_above_the_threshold_are_lesion(threshold: float) -> None:
    """A stored probability counts as lesion exactly when, divided by 255, it reaches the threshold."""
    mask = threshold_probability(EVERY_LEVEL, threshold)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, threshold - 1e-10 <= EVERY_LEVEL / 255)


def test_zero_probability_is_never_lesion() -> None:
    """However low the threshold, what the model is sure of stays background."""
    assert threshold_probability(np.array([[0, 1]], np.uint8), 1e-12).tolist() == [[0, 1]]


def test_small_lesions_are_dropped_and_the_others_counted() -> None:
    """Lesions of 1, 2 and 4 pixels: with a minimum of 2, the first goes and two are left."""
    mask = np.array(
        [
            [1, 0, 0, 1, 1],
            [0, 0, 0, 0, 0],
            [0, 1, 1, 0, 0],
            [0, 1, 1, 0, 0],
        ],
        np.uint8,
    )
    kept, n_lesions = drop_small_lesions(mask, 2)
    expected = mask.copy()
    expected[0, 0] = 0
    np.testing.assert_array_equal(kept, expected)
    assert n_lesions == 2
    assert drop_small_lesions(mask, 3)[1] == 1
    assert drop_small_lesions(mask, 5)[0].sum() == 0


def test_pixels_that_touch_at_a_corner_are_one_lesion() -> None:
    """A diagonal of three pixels is one lesion of size 3."""
    kept, n_lesions = drop_small_lesions(np.eye(3, dtype=np.uint8), 3)
    np.testing.assert_array_equal(kept, np.eye(3))
    assert n_lesions == 1


@pytest.mark.parametrize("min_lesion_px", [0, 1])
@given(mask=MASKS)
def test_minimum_of_nothing_keeps_everything(min_lesion_px: int, mask: np.ndarray) -> None:
    """0 and 1 both mean that every lesion stays; the count is the number of 8-connected components."""
    kept, n_lesions = drop_small_lesions(mask, min_lesion_px)
    np.testing.assert_array_equal(kept, mask)
    assert n_lesions == ndimage.label(mask, np.ones((3, 3)))[1]


@given(mask=MASKS, min_lesion_px=st.integers(0, 8))
@example(mask=np.array([[0, 0, 0, 1]], np.uint8), min_lesion_px=2)  # a second lesion was made up and the first kept
def test_lesions_stay_whole_or_go_whole(mask: np.ndarray, min_lesion_px: int) -> None:
    """A lesion is kept exactly when it is large enough, and none is cut."""
    kept, n_lesions = drop_small_lesions(mask, min_lesion_px)
    labels, n_all = ndimage.label(mask, np.ones((3, 3)))
    large = [label for label in range(1, n_all + 1) if (labels == label).sum() >= min_lesion_px]
    assert kept.dtype == np.uint8
    np.testing.assert_array_equal(kept, np.isin(labels, large))
    assert n_lesions == len(large)


def test_memory_layout_does_not_matter() -> None:
    """A mask stored column by column has the same lesions."""
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 1:5] = 1
    kept, n_lesions = drop_small_lesions(np.asfortranarray(mask), 4)
    np.testing.assert_array_equal(kept, mask)
    assert n_lesions == 1
