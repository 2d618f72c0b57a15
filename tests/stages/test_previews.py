import io

import numpy as np
from PIL import Image

from tasks.core.pictures.panels import N_GREYS, PALETTE
from tasks.io.scan_sources import ScanSource
from tasks.stages.chunk import Predicted
from tasks.stages.load_scans import LoadedScan
from tasks.stages.previews import draw_preview

SIDE_PX = 256


def _preview(n_slices: int, lesions: dict[int, int]) -> np.ndarray:
    """Return the preview of a scan with a square lesion in some slices, by its side, as indices into the palette."""
    mask = np.zeros((n_slices, SIDE_PX, SIDE_PX), np.uint8)
    for number, side in lesions.items():
        mask[number, 10 : 10 + side, 20 : 20 + side] = 1
    images = np.arange(n_slices, dtype=np.uint8)[:, None, None] * 4 + np.zeros_like(mask)
    scan = LoadedScan(ScanSource.__new__(ScanSource), shape=(SIDE_PX, SIDE_PX))
    return np.array(Image.open(io.BytesIO(draw_preview(Predicted(images, scan, mask * 255), mask))))


def test_a_slice_is_in_its_preview_once_with_its_lesion_outlined() -> None:
    """As large as the slice, and with its own grey away from the outline."""
    picture = _preview(1, {0: 30})
    is_outline = picture >= N_GREYS
    assert picture.shape == (SIDE_PX, SIDE_PX)
    assert is_outline.sum() == 4 * 29
    assert (picture[~is_outline] == 0).all()


def test_a_volume_is_shown_by_its_largest_lesion_and_a_quarter_from_either_end() -> None:
    """Of lesions in slices 10 to 30, largest in 26: slices 15, 25 and 26, side by side."""
    picture = _preview(40, {number: 40 if number == 26 else 10 for number in range(10, 31)})
    greys = PALETTE[picture[0, [0, SIDE_PX + 4, 2 * (SIDE_PX + 4)]], 0]
    np.testing.assert_allclose(greys, [4 * 15, 4 * 25, 4 * 26], atol=1)


def test_a_scan_without_lesion_is_shown_by_its_middle() -> None:
    """There is nothing to point at."""
    greys = PALETTE[_preview(9, {})[0, [0, SIDE_PX + 4, 2 * (SIDE_PX + 4)]], 0]
    np.testing.assert_allclose(greys, [4 * 2, 4 * 4, 4 * 6], atol=1)
