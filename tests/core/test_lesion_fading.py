import cv2
import numpy as np
import pytest

from tasks.core.lesion_fading import fade_lesions

LUNG, LESION, WALL = 50, 100, 150


def _disc(radius: int = 15, column: int = 64) -> np.ndarray:
    return cv2.circle(np.zeros((128, 128), np.uint8), (column, 64), radius, 1, -1)


def _slice(lesion: np.ndarray) -> np.ndarray:
    """Return a slice of lung with lesions, and chest wall from column 100 on."""
    image = np.where(lesion > 0, LESION, LUNG).astype(np.uint8)
    image[:, 100:] = WALL
    return image


def _within(mask: np.ndarray, px: int = 4) -> np.ndarray:
    return cv2.erode(mask, np.ones((2 * px + 1, 2 * px + 1), np.uint8)) > 0


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.7, 1.0])
def test_contrast_is_lowered_by_the_fraction(fraction: float) -> None:
    """Inside, a lesion keeps the rest of its difference from the lung."""
    lesion = _disc()
    faded = fade_lesions(_slice(lesion), lesion, fraction=fraction)
    assert faded[_within(lesion)].mean() == pytest.approx(LUNG + (1 - fraction) * (LESION - LUNG), abs=1)


def test_what_is_no_lesion_stays() -> None:
    """A few pixels away from the lesion nothing changes."""
    lesion = _disc()
    image = _slice(lesion)
    faded = fade_lesions(image, lesion, fraction=1.0)
    outside = _within(1 - lesion)
    np.testing.assert_array_equal(faded[outside], image[outside])


def test_lesion_at_the_chest_wall_fades_towards_the_lung() -> None:
    """The wall beside it is brighter than the lesion, so it is not taken for lung."""
    lesion = _disc(column=84) * (np.arange(128) < 100).astype(np.uint8)
    faded = fade_lesions(_slice(lesion), lesion, fraction=1.0)
    inside = _within(lesion) & (np.arange(128) < 90)
    assert faded[inside].mean() == pytest.approx(LUNG, abs=2)


def test_noise_inside_a_lesion_stays() -> None:
    """Otherwise a network would know lesions by their smoothness."""
    lesion, noise = _disc(), np.random.default_rng(0).normal(0, 10, (128, 128))
    image = np.clip(_slice(lesion) + noise, 0, 255).astype(np.uint8)
    faded = fade_lesions(image, lesion, fraction=1.0)
    inside = _within(lesion)
    assert faded[inside].std() > 0.9 * image[inside].std()


def test_slice_is_left_alone_where_nothing_can_be_faded() -> None:
    """Without lesion, and where all around a lesion is brighter than it, there is no lung to fade it towards."""
    lesion = _disc()
    for image, mask in ((_slice(lesion), np.zeros_like(lesion)), (np.full_like(lesion, WALL), lesion)):
        np.testing.assert_array_equal(fade_lesions(image, mask, fraction=1.0), image)
