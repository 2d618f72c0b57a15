import numpy as np
import pytest

from tasks.core.pictures.panels import (
    GREY_OF_RGB,
    LESION_COLOUR,
    LUNG_COLOUR,
    MIN_PANEL_PX,
    N_GREYS,
    N_SHADES,
    PALETTE,
    overlay,
)

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


def _lesions(panel: np.ndarray) -> np.ndarray:
    """Return the pixels that are an outline of a lesion."""
    return (panel >= N_GREYS) & (panel < N_GREYS + N_SHADES)


def _lungs(panel: np.ndarray) -> np.ndarray:
    return panel >= N_GREYS + N_SHADES


def test_lesions_are_outlined_and_what_lies_within_stays_visible() -> None:
    """Exactly the rim of the lesion is drawn; everything else is the slice's own grey."""
    mask = _square(100, 150)
    panel = overlay(_slice(), lesions=mask)
    assert panel.shape == (300, 260)
    np.testing.assert_array_equal(_lesions(panel), _outline(mask))
    np.testing.assert_allclose(PALETTE[panel][~_outline(mask)].astype(int), GREY, atol=1)


def test_hole_in_a_lesion_is_outlined_too() -> None:
    """The inner rim of a ring is part of its outline."""
    mask = _square(100, 150)
    mask[115:135, 115:135] = 0
    red = _lesions(overlay(_slice(), lesions=mask))
    assert red[100, 120]
    assert red[114, 120]
    assert not red[107, 120]


def test_lesion_is_outlined_along_the_border_of_the_slice() -> None:
    """A lesion that fills the slice has a closed outline."""
    mask = np.ones((300, 260), np.uint8)
    np.testing.assert_array_equal(_lesions(overlay(_slice(), lesions=mask)), _outline(mask))


def test_lesions_lie_over_the_lung() -> None:
    """Both rims are shown, and where they meet the lesion is on top."""
    panel = overlay(_slice(), lesions=_square(100, 150), lung=_square(100, 200))
    np.testing.assert_array_equal(_lesions(panel), _outline(_square(100, 150)))
    np.testing.assert_array_equal(_lungs(panel), _outline(_square(100, 200)) & ~_outline(_square(100, 150)))


def test_the_grey_below_every_outline_is_told_by_its_colour() -> None:
    """By one linear rule for outlines and plain pixels, so that a page can take outlines off."""
    image = np.tile(np.arange(256, dtype=np.uint8), (300, 1))
    for masks in ({"lesions": np.ones_like(image)}, {"lesions": np.zeros_like(image), "lung": np.ones_like(image)}):
        found = PALETTE[overlay(image, **masks)].astype(int) @ GREY_OF_RGB
        np.testing.assert_allclose(found, image, atol=5)  # 32 greys below an outline
        np.testing.assert_allclose(found[1:-1, 1:-1], image[1:-1, 1:-1], atol=1)
    assert sum(GREY_OF_RGB) == 1


@pytest.mark.parametrize(("first", "colour"), [(N_GREYS, LESION_COLOUR), (N_GREYS + N_SHADES, LUNG_COLOUR)])
def test_an_outline_has_one_colour_whatever_lies_below(first: int, colour: tuple[int, int, int]) -> None:
    """Its shades are close to each other, and far from grey."""
    shades = PALETTE[first : first + N_SHADES].astype(int)
    assert np.abs(shades - colour).max() <= 40
    assert (shades.max(axis=1) - shades.min(axis=1)).min() > 90


@pytest.mark.parametrize(("side", "factor"), [(20, 13), (96, 3), (128, 2), (255, 2), (256, 1), (512, 1)])
def test_small_slice_is_enlarged_by_a_whole_number(side: int, factor: int) -> None:
    """Pixels stay square pixels, and no panel is smaller than a person can read."""
    image = np.arange(side * side, dtype=np.uint32).reshape(side, side).astype(np.uint8)
    panel = PALETTE[overlay(image, lesions=np.zeros_like(image))]
    assert panel.shape == (factor * side, factor * side, 3)
    assert max(panel.shape) >= MIN_PANEL_PX
    np.testing.assert_allclose(panel[::factor, ::factor, 1].astype(int), image, atol=1)  # 192 greys


def test_lesion_of_one_pixel_is_seen() -> None:
    """Enlarged threefold, a lone pixel gets a ring with its own grey inside."""
    mask = np.zeros((96, 96), np.uint8)
    mask[40, 50] = 1
    red = _lesions(overlay(_slice(96, 96), lesions=mask))
    block = red[120:123, 150:153]
    assert block.tolist() == [[True, True, True], [True, False, True], [True, True, True]]
    assert red.sum() == 8


def test_slice_itself_is_not_drawn_on() -> None:
    """The arrays handed in are left as they were."""
    image, mask = _slice(), _square(100, 150)
    overlay(image, lesions=mask, lung=mask)
    assert (image == GREY).all()
    np.testing.assert_array_equal(mask, _square(100, 150))
