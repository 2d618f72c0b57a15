"""Viewer of the packaged scans of a review, made from their packages."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from tasks.core.config.intensity import HuConfig
from tasks.core.errors import DataError, StorageError
from tasks.core.intensity import hu_to_uint8
from tasks.core.rows import ScanRow
from tasks.core.viewer import MAX_SCANS, ViewerScan, viewer_page
from tasks.io import storage
from tasks.io.formats.nifti import read_nifti
from tasks.io.outputs import reviews
from tasks.stages.viewer_volumes import viewer_scan

SIZE_PX: Final = 256
"""Side of the viewer's slices: that of the published networks."""
LUNG_WINDOW: Final = HuConfig()
"""Window of CT values in the viewer."""


def draw_viewer(rows: Sequence[ScanRow], output_uri: str) -> str:
    """Return the page of the first packaged scans; a package that a reader has changed is left out.

    Args:
        rows: Scans with a package, most urgent first.
        output_uri: URI of the segmentation.
    """
    return viewer_page(list(_scans(rows, output_uri)), n_scans=len(rows))


def _scans(rows: Sequence[ScanRow], output_uri: str) -> Iterator[ViewerScan]:
    for row in rows[:MAX_SCANS]:
        try:
            yield _scan(row, output_uri)
        except DataError:  # readers work on these files
            continue
        except StorageError as err:
            if err.can_pass:
                raise


def _scan(row: ScanRow, output_uri: str) -> ViewerScan:
    files = (reviews.package_uri(output_uri, row.scan_id, name) for name in (reviews.IMAGE_FILE, reviews.MASK_FILE))
    image, mask = (read_nifti(storage.read_bytes(uri)) for uri in files)
    slices = image.grid.to_reading(image.voxels)
    if image.unit != "grey":
        slices = np.stack([hu_to_uint8(slice_, LUNG_WINDOW) for slice_ in slices])
    lesions = (mask.grid.to_reading(mask.voxels) > 0).astype(np.uint8)
    return viewer_scan(row, np.ascontiguousarray(slices), lesions, image.grid.affine, SIZE_PX)
