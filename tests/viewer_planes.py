"""Planes of the viewer against SimpleITK: what the page shows of a scan is what it resamples there."""

import numpy as np
import pytest
import SimpleITK

from tasks.core.volumes import Grid
from tests.itk_files import itk_image
from tests.viewer_pages import Opened, is_red

MARGIN_PX = 12
"""Border of a plane that is not compared: SimpleITK has no values beyond the centres of the outermost voxels."""


def require_register(opened: Opened, source: SimpleITK.Image, mask: np.ndarray, grid: Grid) -> None:
    """Require that what is shown is what SimpleITK finds at the same places of the source."""
    read = grid.to_reading(mask)
    voxel = [round(float(place)) for place in np.argwhere(read).mean(axis=0)]
    place_crosshair(opened, voxel, read.shape)
    tiles = opened.page.evaluate("viewer.screenSlices.map((tile) => [tile.axCorSag, ...tile.leftTopWidthHeight])")
    assert sorted(tile[0] for tile in tiles) == [0, 1, 2]
    opened.page.locator("#opacity").fill("60")
    opened.switch(crosshair=False, overlay=False)
    grey = opened.picture()
    opened.switch(overlay=True)
    coloured = opened.picture()
    for plane, left, top, width, height in tiles:
        size = int(width), int(height)
        box = np.s_[round(top) : round(top) + size[1], round(left) : round(left) + size[0]]
        place = _plane(grid.as_read(), int(plane), voxel, size)
        inner = np.s_[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        expected = _resampled(source, place, SimpleITK.sitkLinear)[inner]
        shown = grey[box].mean(axis=-1)[inner]
        correlation = _correlation(shown, expected)
        assert correlation > 0.98, (plane, correlation)
        for shift in (-4, 4):
            for axis in (0, 1):
                assert _correlation(np.roll(shown, shift, axis), expected) < correlation, (plane, shift, axis)
        lesion = _resampled(itk_image(mask, grid), place, SimpleITK.sitkNearestNeighbor) > 0
        shown_lesion = is_red(coloured[box])
        np.testing.assert_allclose(_centre(shown_lesion), _centre(lesion), atol=2, err_msg=f"plane {plane}")
        assert shown_lesion.sum() == pytest.approx(lesion.sum(), rel=0.15)


def place_crosshair(opened: Opened, voxel: list[int], shape: tuple[int, ...]) -> None:
    """Show the planes through the centre of a voxel of the source, in reading orientation."""
    k, row, column = ((place + 0.5) / n for place, n in zip(voxel, shape, strict=True))
    opened.page.evaluate(
        "(place) => { viewer.scene.crosshairPos = place; viewer.drawScene(); showSlice(); }",
        [1 - column, 1 - row, k],
    )


def _plane(read: Grid, plane: int, voxel: list[int], size: tuple[int, int]) -> SimpleITK.Image:
    """Return the pixels of a plane in space: the whole slice as a radiologist has it, head or front at the top."""
    n_slices, height, width = read.shape
    across = {0: ([0, 0, 1], width), 1: ([0, 0, 1], width), 2: ([0, 1, 0], height)}[plane]
    down = ([0, 1, 0], height) if plane == 0 else ([-1, 0, 0], n_slices)
    first = np.array(voxel, float)
    for direction, n in (across, down):
        axis = int(np.flatnonzero(direction)[0])
        first[axis] = -0.5 if sum(direction) > 0 else n - 0.5
    step = [np.array(direction) * n / pixels for (direction, n), pixels in zip((across, down), size, strict=True)]
    first += (step[0] + step[1]) / 2
    to_lps = np.diag([-1, -1, 1, 1]) @ read.affine
    columns = [to_lps[:3, :3] @ one for one in step]
    normal = np.cross(columns[0], columns[1])
    pixels = SimpleITK.Image([*size, 1], SimpleITK.sitkFloat32)
    pixels.SetOrigin((to_lps @ [*first, 1])[:3].tolist())
    pixels.SetSpacing([*(float(np.linalg.norm(column)) for column in columns), 1.0])
    axes = [vector / np.linalg.norm(vector) for vector in (*columns, normal)]
    pixels.SetDirection(np.stack(axes, axis=1).ravel().tolist())
    return pixels


def _resampled(image: SimpleITK.Image, place: SimpleITK.Image, interpolator: int) -> np.ndarray:
    found = SimpleITK.Resample(image, place, SimpleITK.Transform(), interpolator, 0.0, SimpleITK.sitkFloat32)
    pixels: np.ndarray = SimpleITK.GetArrayFromImage(found)[0]
    return pixels


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _centre(mask: np.ndarray) -> np.ndarray:
    centre: np.ndarray = np.argwhere(mask).mean(axis=0)
    return centre
