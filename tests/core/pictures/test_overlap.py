import itertools

import cv2
import numpy as np
import pytest

from tasks.core.pictures.overlap import OPACITY, OVERLAP_COLOURS, OVERLAP_PALETTE, overlap_picture
from tasks.core.pictures.panels import GAP_PX, MIN_PANEL_PX

VISION = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""Linear RGB as seen; source: Machado et al., IEEE TVCG 15(6), 2009, severity 1.0."""
MIN_DIFFERENCE = 20
"""Of CIELAB; 2.3 is just noticeable."""


def _seen(rgb: np.ndarray, vision: np.ndarray) -> np.ndarray:
    """Return sRGB colours, `(n, 3)` of 0 to 255, as CIELAB of what is seen."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ vision.T, 0, 1)
    back = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(back.astype(np.float32)[np.newaxis], cv2.COLOR_RGB2LAB)[0]


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("under", [40, 90, 160])
def test_colours_differ_for_any_colour_vision(vision: str, under: int) -> None:
    """On any grey of a lesion, the three outlines differ from each other and from the grey itself."""
    seen = _seen(np.array([*OVERLAP_COLOURS.values(), [under] * 3]), VISION[vision])
    gaps = [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2)]
    assert min(gaps) >= MIN_DIFFERENCE


def test_found_false_and_missed_areas_are_outlined_and_lightly_filled() -> None:
    """Beside the plain slice: areas of both masks, of the prediction alone, of the reference alone, and of none."""
    image = np.full((300, 260), 90, np.uint8)
    prediction, reference = np.zeros((2, 300, 260), np.uint8)
    prediction[0:20, 0:20] = 1
    reference[10:30, 0:20] = 1
    picture = OVERLAP_PALETTE[overlap_picture(image, prediction=prediction, reference=reference)].astype(int)
    assert picture.shape == (300, 2 * 260 + GAP_PX, 3)
    plain, coloured = picture[:, :260], picture[:, 260 + GAP_PX :]
    np.testing.assert_allclose(plain, 90, atol=1)
    for row, name in ((10, "true positive"), (0, "false positive"), (20, "false negative")):
        colour = np.array(OVERLAP_COLOURS[name])
        area = coloured[row : row + 10, 0:20]
        np.testing.assert_array_equal(area[[0, 0, -1, -1], [0, -1, 0, -1]], [colour] * 4)
        inside = OPACITY * colour + (1 - OPACITY) * 90
        np.testing.assert_allclose(area[1:-1, 1:-1], np.broadcast_to(inside, (8, 18, 3)), atol=3)
    np.testing.assert_allclose(coloured[30:], 90, atol=1)
    np.testing.assert_allclose(coloured[:, 20:], 90, atol=1)


def test_the_edge_of_a_lesion_is_seen_through_its_area() -> None:
    """Inside an area, a step of the slice keeps most of its height."""
    image = np.full((300, 260), 40, np.uint8)
    image[:, 130:] = 160
    mask = np.zeros_like(image)
    mask[50:250, 60:200] = 1
    inside = OVERLAP_PALETTE[overlap_picture(image, prediction=mask, reference=mask)][150, 260 + GAP_PX + 100 :].astype(
        int
    )
    assert (inside[60] - inside[0]).min() >= 0.75 * 120


@pytest.mark.parametrize(("side", "factor"), [(20, 13), (128, 2), (255, 2), (512, 1)])
def test_a_small_slice_is_enlarged_and_every_grey_kept(side: int, factor: int) -> None:
    """Pixels stay square; greys of the plain slice are off by one level at most."""
    image = (np.arange(side * side) % 256).astype(np.uint8).reshape(side, side)
    empty = np.zeros_like(image)
    plain = OVERLAP_PALETTE[overlap_picture(image, prediction=empty, reference=empty)][:, : factor * side, 0]
    assert max(plain.shape) >= MIN_PANEL_PX
    np.testing.assert_allclose(plain[::factor, ::factor].astype(int), image, atol=1)
