"""Volumes of the viewer: slices and masks of a scan at the viewer's size, as NIfTI."""

import gzip

import nibabel as nib
import numpy as np

from tasks.core.config.intensity import HuConfig
from tasks.core.errors import DataError
from tasks.core.geometry import resize_mask, resize_slice, resized_grid
from tasks.core.pages.viewer import CORRECTED, N_STEPS, PREDICTED, ViewerScan, caption_of
from tasks.core.rows import ScanRow
from tasks.core.volumes import Grid

PICTURE_AFFINE = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
"""Affine of slices without a position in space: as they are read, voxels of 1 mm."""


def viewer_scan(
    row: ScanRow,
    image: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    size_px: int,
    *,
    stored: HuConfig | None = None,
) -> ViewerScan:
    """Return a scan as the viewer shows it: slices and mask at the viewer's size, where they lie in space.

    Args:
        row: Result of the scan.
        image: Its slices in reading orientation, uint8 `(N, H, W)`.
        mask: Its lesions on the same slices, uint8 of the bits `PREDICTED` and `CORRECTED`, `(N, H, W)`.
        affine: Voxel index to world of the grid the scan is stored on, or of the grid as read, RAS+, mm, `(4, 4)`;
            `PICTURE_AFFINE` for slices without a position.
        size_px: Side of the slices.
        stored: Window of CT values that 0 to 255 of the image are; None for grey levels.

    Raises:
        DataError: `shape_mismatch` or `bad_affine`.
    """
    if image.shape != mask.shape:
        raise DataError("shape_mismatch", f"The image is {image.shape} and its mask {mask.shape}; they must agree.")
    source = Grid(Grid(image.shape, affine).from_reading(image).shape, affine)
    source.check()
    grid = resized_grid(source.as_read(), size_px)
    return ViewerScan(
        row.scan_id,
        caption_of(row),
        image=_to_nifti(
            np.stack([resize_slice(np.ascontiguousarray(slice_), size_px) for slice_ in image]), grid, stored
        ),
        mask=_to_nifti(np.stack([_resized_mask(slice_, size_px) for slice_ in mask]), grid),
        mask_sha256=row.mask_sha256,
        is_hu=stored is not None,
    )


def _resized_mask(bits: np.ndarray, size_px: int) -> np.ndarray:
    """Return the masks of a slice at the viewer's size, each for itself."""
    resized = [resize_mask(np.ascontiguousarray((bits & bit) // bit), size_px) * bit for bit in (PREDICTED, CORRECTED)]
    both: np.ndarray = resized[0] | resized[1]
    return both


def _to_nifti(voxels: np.ndarray, grid: Grid, stored: HuConfig | None = None) -> bytes:
    """Return slices as gzipped NIfTI, the same bytes at any time."""
    image = nib.Nifti1Image(voxels.T, grid.transposed().affine)
    image.header.set_xyzt_units("mm")
    if stored is not None:
        low_hu = stored.window_level_hu - stored.window_width_hu / 2
        image.header.set_slope_inter(stored.window_width_hu / N_STEPS, low_hu)
    return gzip.compress(image.to_bytes(), mtime=0)
