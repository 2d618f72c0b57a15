import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.geometry import resize_mask, resize_slice, resize_slice_to, resized_grid, restore_probability
from tasks.core.volumes import Grid

SIDES = st.integers(1, 40)
IMAGES = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))
MASKS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1))


@given(image=IMAGES, height=SIDES, width=SIDES)
def test_resized_slice_has_the_asked_shape_and_no_new_extremes(image: np.ndarray, height: int, width: int) -> None:
    """Any slice fits any grid, as uint8, without overshoot."""
    resized = resize_slice_to(image, (height, width))
    assert resized.shape == (height, width)
    assert resized.dtype == np.uint8
    assert image.min() <= resized.min()
    assert resized.max() <= image.max()


@given(image=IMAGES, size_px=SIDES)
def test_square_is_the_general_resize(image: np.ndarray, size_px: int) -> None:
    """A square is one of the shapes a slice can be resized to."""
    np.testing.assert_array_equal(resize_slice(image, size_px), resize_slice_to(image, (size_px, size_px)))


@given(IMAGES)
def test_own_shape_changes_nothing(image: np.ndarray) -> None:
    """A slice that already has the shape keeps every value."""
    np.testing.assert_array_equal(resize_slice_to(image, image.shape), image)
    np.testing.assert_array_equal(restore_probability(image, image.shape), image)


@given(probability=hnp.arrays(np.uint8, (8, 8)), height=SIDES, width=SIDES)
def test_probability_comes_back_to_the_grid_of_its_slice(probability: np.ndarray, height: int, width: int) -> None:
    """The answer has the slice's own shape, in the order (height, width), within the values predicted."""
    restored = restore_probability(probability, (height, width))
    assert restored.shape == (height, width)
    assert restored.dtype == np.uint8
    assert probability.min() <= restored.min()
    assert restored.max() <= probability.max()


def test_axes_keep_their_order() -> None:
    """Rows stay rows: a bright upper half stays the upper half on a grid of another shape."""
    image = np.zeros((4, 12), np.uint8)
    image[:2] = 200
    restored = resize_slice_to(image, (2, 6))
    assert restored.tolist() == [[200] * 6, [0] * 6]


def test_shrinking_averages_over_area() -> None:
    """Each pixel is the mean of the block it covers, so that a thin line fades instead of vanishing."""
    image = np.zeros((4, 8), np.uint8)
    image[:, 1] = 200
    image[0, 4:] = [40, 80, 120, 160]
    assert resize_slice_to(image, (1, 2)).tolist() == [[50, 25]]
    assert resize_slice_to(image, (2, 4)).tolist() == [[100, 0, 30, 70], [100, 0, 0, 0]]


@given(st.integers(1, 8).flatmap(lambda n: hnp.arrays(np.uint8, (2 * n, 2 * n), elements=st.integers(0, 1))))
def test_shrunk_mask_is_lesion_where_half_of_the_block_is(mask: np.ndarray) -> None:
    """Halving a mask: a pixel is lesion where two or more of its four were."""
    size_px = len(mask) // 2
    of_four = mask.reshape(size_px, 2, size_px, 2).sum(axis=(1, 3))
    np.testing.assert_array_equal(resize_mask(mask, size_px), of_four >= 2)


@given(st.integers(1, 8).flatmap(lambda n: hnp.arrays(np.uint8, (n, n), elements=st.integers(0, 1))))
def test_doubled_mask_repeats_every_pixel(mask: np.ndarray) -> None:
    """Doubling a mask: each pixel becomes four of its kind."""
    np.testing.assert_array_equal(resize_mask(mask, 2 * len(mask)), mask.repeat(2, axis=0).repeat(2, axis=1))


@given(mask=MASKS, size_px=SIDES)
def test_mask_stays_binary(mask: np.ndarray, size_px: int) -> None:
    """Whatever the grids, a mask holds 0 and 1, and one without or full of lesion stays so."""
    resized = resize_mask(mask, size_px)
    assert resized.shape == (size_px, size_px)
    assert resized.dtype == np.uint8
    assert set(np.unique(resized)) <= set(np.unique(mask))


@pytest.mark.parametrize("size_px", [32, 48, 100, 200, 256])
def test_mask_and_slice_stay_in_register(size_px: int) -> None:
    """A bright square lands where its mask lands, give or take the outline."""
    mask = np.zeros((120, 90), np.uint8)
    mask[30:75, 20:60] = 1
    resized, image = resize_mask(mask, size_px), resize_slice(mask * 255, size_px)
    assert (resized == (image >= 127.5)).mean() > 0.98
    assert resized.mean() == pytest.approx(mask.mean(), rel=0.05)


def test_half_covered_pixels_are_lesion_at_any_scale() -> None:
    """Every second column set is half of every pixel, also where hundreds of them make one."""
    stripes = np.zeros((704, 704), np.uint8)
    stripes[:, ::2] = 1
    assert resize_mask(stripes, 32).all()


def test_an_enlarged_pixel_keeps_its_area() -> None:
    """One pixel at three times the size is nine pixels, corners included."""
    mask = np.zeros((12, 12), np.uint8)
    mask[5, 5] = 1
    enlarged = np.zeros((36, 36), np.uint8)
    enlarged[15:18, 15:18] = 1
    np.testing.assert_array_equal(resize_mask(mask, 36), enlarged)


def test_thin_lines_of_a_long_narrow_slice_do_not_vanish() -> None:
    """What shrinks along one axis only is averaged along that axis."""
    lines = np.zeros((1024, 50), np.uint8)
    lines[::4] = 252
    assert (resize_slice(lines, 256) == 63).all()


@given(height=SIDES, width=SIDES, size_px=SIDES)
def test_resized_slices_keep_their_edges_in_space(height: int, width: int, size_px: int) -> None:
    """The outer corner of the first pixel and that of the last lie where they lay, whatever the sizes."""
    read = Grid((5, height, width), np.array([[0, 0.2, -0.7, 9], [0.1, -0.8, 0, 4], [3, 0, 0.1, -7], [0, 0, 0, 1]]))
    resized = resized_grid(read, size_px)
    assert resized.shape == (5, size_px, size_px)
    for slice_index in (0, 4):
        first = [slice_index, -0.5, -0.5, 1]
        np.testing.assert_allclose(resized.affine @ first, read.affine @ first, atol=1e-9)
        last, square = [slice_index, height - 0.5, width - 0.5, 1], [slice_index, size_px - 0.5, size_px - 0.5, 1]
        np.testing.assert_allclose(resized.affine @ square, read.affine @ last, atol=1e-9)
