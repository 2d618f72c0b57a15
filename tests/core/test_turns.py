"""Turns by EXIF orientation: as Pillow makes them, and back."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from tasks.core.turns import turned, turned_back

STORED = np.arange(35, dtype=np.uint8).reshape(5, 7)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_by_pillow(orientation: int) -> None:
    """All eight orientations of the standard, and their inverses."""
    image = Image.fromarray(STORED)
    image.getexif()[274] = orientation
    shown = turned(STORED, orientation)
    np.testing.assert_array_equal(shown, np.asarray(ImageOps.exif_transpose(image)))
    np.testing.assert_array_equal(turned_back(shown, orientation), STORED)


def test_an_unknown_orientation_is_none() -> None:
    """A damaged tag turns nothing."""
    np.testing.assert_array_equal(turned(STORED, 77), STORED)
