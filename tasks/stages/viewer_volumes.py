"""Volumes of the viewer: slices and mask of a scan at the model's size, as NIfTI."""

import gzip

import nibabel as nib
import numpy as np

from tasks.core.errors import DataError
from tasks.core.geometry import resize_mask, resize_slice, resized_grid
from tasks.core.rows import ScanRow
from tasks.core.viewer import ViewerScan, caption_of
from tasks.core.volumes import Grid

PICTURE_AFFINE = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
"""Affine of slices without a position in space: as they are read, voxels of 1 mm."""


def viewer_scan(row: ScanRow, image: np.ndarray, mask: np.ndarray, affine: np.ndarray, size_px: int) -> ViewerScan:
    """Return a scan as the viewer shows it: slices and mask at the model's size, where they lie in space.

    Args:
        row: Result of the scan.
        image: Its slices in reading orientation, uint8 `(N, H, W)`.
        mask: Its lesions on the same slices, uint8 of 0 and 1, `(N, H, W)`.
        affine: Voxel index to world of the grid the scan is stored on, or of the grid as read, RAS+, mm, `(4, 4)`;
            `PICTURE_AFFINE` for slices without a position.
        size_px: Side of the model's input.

    Raises:
        DataError: `shape_mismatch` or `bad_affine`.
    """
    if image.shape != mask.shape:
        raise DataError("shape_mismatch", f"The image is {image.shape} and its mask {mask.shape}; they must agree.")
    stored = Grid(Grid(image.shape, affine).from_reading(image).shape, affine)
    stored.check()
    grid = resized_grid(stored.as_read(), size_px)
    return ViewerScan(
        row.scan_id,
        caption_of(row),
        image=_to_nifti(np.stack([resize_slice(np.ascontiguousarray(slice_), size_px) for slice_ in image]), grid),
        mask=_to_nifti(np.stack([resize_mask(np.ascontiguousarray(slice_), size_px) for slice_ in mask]), grid),
    )


def _to_nifti(voxels: np.ndarray, grid: Grid) -> bytes:
    """Return slices as gzipped NIfTI, the same bytes at any time."""
    image = nib.Nifti1Image(voxels.T, grid.transposed().affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), mtime=0)
