"""A CT series with a known lesion, in any folders, taken through the real stages."""

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from tasks.core.rows import ScanRow
from tasks.io import storage
from tasks.stages.segmentation_run import Run
from tests.stages.bright import scans_of, segment
from tests.volumes import Truth, grid_around, put_series, to_dicom

TRUTH = Truth()
GRID = grid_around(TRUTH, (20, 40, 44), (3.0, 1.0, 1.0), np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])
VOXELS = TRUTH.voxels(GRID)
ML = int(TRUTH.mask(GRID).sum()) * GRID.voxel_mm3 / 1000


def ct_slices(**changes: object) -> list[Dataset]:
    """Return the scan as a CT series."""
    return to_dicom(VOXELS, GRID, **changes)


def rows_of(run: Run, folders: dict[str, Sequence[Dataset]]) -> list[ScanRow]:
    """Return the rows of series in folders, by their ids."""
    for folder, slices in folders.items():
        put_series(storage.join(run.request.scans_uri, folder), slices)
    return sorted(segment(run, scans_of(run)), key=lambda row: row.scan_id)
