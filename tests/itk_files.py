"""MetaImage and NRRD as SimpleITK writes and reads them, which is what our own readers must agree with."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK

from tasks.core.volumes import LPS_TO_RAS, Grid, Volume


def write_by_itk(
    voxels: np.ndarray,
    grid: Grid,
    suffix: str,
    *,
    is_packed: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return a volume, `(slice, row, column)`, as a file of SimpleITK."""
    image = itk_image(voxels, grid)
    for key, value in (metadata or {}).items():
        image.SetMetaData(key, value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"volume{suffix}")
        SimpleITK.WriteImage(image, str(path), useCompression=is_packed)
        return path.read_bytes()


def read_by_itk(content: bytes, suffix: str) -> Volume:
    """Return the volume that SimpleITK finds in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"volume{suffix}")
        path.write_bytes(content)
        image = SimpleITK.ReadImage(str(path))
    return Volume(SimpleITK.GetArrayFromImage(image), itk_grid(image))


def itk_image(voxels: np.ndarray, grid: Grid) -> SimpleITK.Image:
    """Return a volume, `(slice, row, column)`, as an image of SimpleITK."""
    lps = LPS_TO_RAS @ grid.affine
    image = SimpleITK.GetImageFromArray(voxels)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing[::-1].tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing)[:, ::-1].ravel().tolist())
    return image


def itk_grid(image: SimpleITK.Image) -> Grid:
    """Return the grid `(slice, row, column)` of an image as SimpleITK understands it."""
    lps = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, :3], lps[:3, 3] = direction[:, ::-1], image.GetOrigin()
    return Grid(image.GetSize()[::-1], LPS_TO_RAS @ lps)


def assert_same(found: Volume, expected: Volume) -> None:
    """Require the same voxels of the same type on the same grid."""
    assert found.voxels.dtype == expected.voxels.dtype
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    assert found.grid.shape == expected.grid.shape
    np.testing.assert_allclose(found.grid.affine, expected.grid.affine, rtol=1e-12, atol=1e-12)
