import numpy as np
import pytest

from tasks.core.panels import MIN_PANEL_PX, PALETTE, PREDICTION_COLOUR, REFERENCE_COLOUR, overlay

GREY = 90


def _slice(height: int = 300, width: int = 260) -> np.ndarray:
    return np.full((height, width), GREY, np.uint8)


def _square(first: int, last: int, height: int = 300, width: int = 260) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[first:last, first:last] = 1
    return mask


def _outline(mask: np.ndarray) -> np.ndarray:
    """Return the lesion pixels that have background, or the border, above, below, left or right of them."""
    around = np.pad(mask, 1)
    inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return np.logical_and(mask > 0, inner == 0)


def _has(panel: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.equal(panel, colour).all(axis=-1)


def test_prediction_is_outlined_and_what_lies_under_it_stays_visible() -> None:
    """Exactly the rim of the lesion is red; everything else is the slice's own grey."""
    mask = _square(100, 150)
    panel = PALETTE[overlay(_slice(), prediction=mask)]
    assert panel.shape == (300, 260, 3)
    np.testing.assert_array_equal(_has(panel, PREDICTION_COLOUR), _outline(mask))
    assert (panel[~_outline(mask)] == GREY).all()


def test_hole_in_a_lesion_is_outlined_too() -> None:
    """The inner rim of a ring is part of its outline."""
    mask = _square(100, 150)
    mask[115:135, 115:135] = 0
    red = _has(PALETTE[overlay(_slice(), prediction=mask)], PREDICTION_COLOUR)
    assert red[100, 120]
    assert red[114, 120]
    assert not red[107, 120]


def test_lesion_is_outlined_along_the_border_of_the_slice() -> None:
    """A lesion that fills the slice has a closed outline."""
    mask = np.ones((300, 260), np.uint8)
    red = _has(PALETTE[overlay(_slice(), prediction=mask)], PREDICTION_COLOUR)
    np.testing.assert_array_equal(red, _outline(mask))


def test_prediction_lies_over_the_reference() -> None:
    """Both rims are shown, and where they agree the prediction is on top."""
    panel = PALETTE[overlay(_slice(), prediction=_square(100, 150), reference=_square(100, 200))]
    red, blue = _has(panel, PREDICTION_COLOUR), _has(panel, REFERENCE_COLOUR)
    assert red[100, 120]
    assert blue[100, 180]
    np.testing.assert_array_equal(red, _outline(_square(100, 150)))
    np.testing.assert_array_equal(blue, _outline(_square(100, 200)) & ~red)


@pytest.mark.parametrize(("side", "factor"), [(20, 13), (96, 3), (128, 2), (255, 2), (256, 1), (512, 1)])
def test_small_slice_is_enlarged_by_a_whole_number(side: int, factor: int) -> None:
    """Pixels stay square pixels, and no panel is smaller than a person can read."""
    image = np.arange(side * side, dtype=np.uint32).reshape(side, side).astype(np.uint8)
    panel = PALETTE[overlay(image, prediction=np.zeros_like(image))]
    assert panel.shape == (factor * side, factor * side, 3)
    assert max(panel.shape) >= MIN_PANEL_PX
    np.testing.assert_allclose(panel[::factor, ::factor, 1].astype(int), image, atol=1)  # 254 greys


def test_lesion_of_one_pixel_is_seen() -> None:
    """Enlarged threefold, a lone pixel gets a ring with its own grey inside."""
    mask = np.zeros((96, 96), np.uint8)
    mask[40, 50] = 1
    panel = PALETTE[overlay(_slice(96, 96), prediction=mask)]
    block = _has(panel, PREDICTION_COLOUR)[120:123, 150:153]
    assert block.tolist() == [[True, True, True], [True, False, True], [True, True, True]]
    assert _has(panel, PREDICTION_COLOUR).sum() == 8


def test_slice_itself_is_not_drawn_on() -> None:
    """The arrays handed in are left as they were."""
    image, mask = _slice(), _square(100, 150)
    overlay(image, prediction=mask, reference=mask)
    assert (image == GREY).all()
    np.testing.assert_array_equal(mask, _square(100, 150))
