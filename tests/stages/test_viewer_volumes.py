"""Volumes of the viewer lie in space where the scan does, as SimpleITK sees both."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from tasks.core.config.intensity import HuConfig
from tasks.core.errors import DataError
from tasks.core.intensity import hu_to_uint8
from tasks.core.pages.viewer import CORRECTED, MIN_STEP_HU, PREDICTED, ViewerScan, stored_window
from tasks.core.volumes import Grid
from tasks.stages.viewer_volumes import PICTURE_AFFINE, viewer_scan
from tests.core.samples import DONE
from tests.itk_files import itk_grid, itk_image
from tests.viewer_scans import DIRECTIONS, TRUTH, grid_of, read_as_viewer, shades

SIZE_PX = 32
SIZES = [(12, 20, 30), (12, 52, 44), (12, 50, 24)]
"""Voxels along the stored axes: slices that are enlarged, shrunk, and both."""


def _opened(scan: ViewerScan, folder: Path) -> tuple[SimpleITK.Image, SimpleITK.Image]:
    """Return image and mask as SimpleITK reads them."""
    images = []
    for name, content in (("image", scan.image), ("mask", scan.mask)):
        path = folder / f"{name}.nii.gz"
        path.write_bytes(content)
        images.append(SimpleITK.ReadImage(str(path)))
    return images[0], images[1]


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("directions", DIRECTIONS.values(), ids=DIRECTIONS)
def test_image_is_in_register_with_its_source(
    tmp_path: Path, shape: tuple[int, int, int], directions: np.ndarray
) -> None:
    """The image has the grey values that SimpleITK finds in the source at its voxels' places, whatever the axes."""
    grid = grid_of(shape, directions)
    stored = shades(grid)
    image, mask = _opened(read_as_viewer(stored, TRUTH.mask(grid), grid, SIZE_PX), tmp_path)
    assert image.GetSize() == mask.GetSize() == (SIZE_PX, SIZE_PX, grid.as_read().shape[0])
    source = itk_image(stored.astype(np.float32), grid)
    expected = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(source, image, SimpleITK.Transform(), defaultPixelValue=-1)
    )
    apart = SimpleITK.GetArrayFromImage(image).astype(float) - expected
    inside = apart[expected >= 0]
    assert inside.size > 0.7 * apart.size
    assert np.abs(inside).max() <= 1.5  # rounding of the source and of the image
    assert abs(inside.mean()) < 0.15  # OpenCV rounds down by 0.12; without the shift of the first centre: 0.2 to 0.9


@pytest.mark.parametrize("directions", DIRECTIONS.values(), ids=DIRECTIONS)
def test_mask_is_where_the_lesion_is(tmp_path: Path, directions: np.ndarray) -> None:
    """The mask's centre and volume in space are the lesion's, and its grid is the image's."""
    grid = grid_of((14, 60, 70), directions)
    image, mask = _opened(read_as_viewer(shades(grid), TRUTH.mask(grid), grid, SIZE_PX), tmp_path)
    np.testing.assert_allclose(itk_grid(mask).affine, itk_grid(image).affine)
    found, affine = SimpleITK.GetArrayFromImage(mask), itk_grid(mask).affine
    assert set(np.unique(found)) == {0, 1}
    centre = affine @ [*np.argwhere(found).mean(axis=0), 1]
    source = TRUTH.mask(grid)
    expected = grid.affine @ [*np.argwhere(source).mean(axis=0), 1]
    np.testing.assert_allclose(centre[:3], expected[:3], atol=0.35)
    assert found.sum() * itk_grid(mask).voxel_mm3 == pytest.approx(source.sum() * grid.voxel_mm3, rel=0.1)


def test_values_are_hu_for_whoever_reads_the_image(tmp_path: Path) -> None:
    """SimpleITK reads CT values within half a step, those beyond the range as its ends."""
    grid = grid_of((12, SIZE_PX, SIZE_PX), DIRECTIONS["flipped"])
    voxels_hu = np.linspace(-2000, 1500, int(np.prod(grid.shape))).reshape(grid.shape)
    window = stored_window(HuConfig())
    stored = np.stack([hu_to_uint8(slice_, window) for slice_ in voxels_hu])
    image, _ = _opened(read_as_viewer(stored, TRUTH.mask(grid), grid, SIZE_PX, window=window), tmp_path)
    apart = SimpleITK.GetArrayFromImage(image) - grid.to_reading(np.clip(voxels_hu, -1024, 506))
    assert np.abs(apart).max() <= MIN_STEP_HU / 2 + 0.01


def test_correction_lies_beside_the_prediction(tmp_path: Path) -> None:
    """Each is a bit of the mask, resized for itself: what is in both, in one or in none of them stays apart."""
    grid = grid_of((12, 52, 44), DIRECTIONS["as read"])
    truth = TRUTH.mask(grid)
    corrected = np.roll(truth, 4, axis=2)
    both = truth * np.uint8(PREDICTED) | corrected * np.uint8(CORRECTED)
    _, mask = _opened(read_as_viewer(shades(grid), both, grid, SIZE_PX), tmp_path)
    found = SimpleITK.GetArrayFromImage(mask)
    for bit, of in ((PREDICTED, truth), (CORRECTED, corrected)):
        _, alone = _opened(read_as_viewer(shades(grid), of, grid, SIZE_PX), tmp_path)
        np.testing.assert_array_equal((found & bit) // bit, SimpleITK.GetArrayFromImage(alone))
    assert set(np.unique(found)) == {0, 1, 2, 3}


def test_grid_as_read_gives_the_same_scan() -> None:
    """Whoever has only the grid of the slices as they are read gets the same volumes."""
    grid = grid_of((12, 20, 30), DIRECTIONS["flipped"])
    stored, mask = shades(grid), TRUTH.mask(grid)
    assert read_as_viewer(stored, mask, grid, SIZE_PX) == viewer_scan(
        DONE, grid.to_reading(stored), grid.to_reading(mask), grid.as_read().affine, SIZE_PX
    )


def test_slices_without_a_position_keep_their_order() -> None:
    """Slices that lie nowhere in space are shown as they are read."""
    affine = Grid((3, 40, 40), PICTURE_AFFINE).as_read().affine
    np.testing.assert_array_equal(affine, PICTURE_AFFINE)


def test_mask_of_another_shape_is_refused() -> None:
    """A mask that does not fit its image is not stretched onto it."""
    with pytest.raises(DataError, match="they must agree") as refused:
        viewer_scan(DONE, np.zeros((3, 40, 40), np.uint8), np.zeros((3, 40, 20), np.uint8), PICTURE_AFFINE, SIZE_PX)
    assert refused.value.code == "shape_mismatch"
