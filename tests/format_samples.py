"""A scan in every input format, written by other means than the readers': what contract tests over `FORMATS` read."""

from collections.abc import Callable

import numpy as np

from tasks.core.volumes import Grid
from tasks.io import storage
from tasks.io.formats import FORMATS
from tasks.io.formats.raster import write_png
from tests.itk_files import write_by_itk
from tests.volumes import put_series, to_dicom, to_nifti

SLICES: dict[str, Callable[[np.ndarray], bytes]] = {
    "raster": write_png,
}
"""By format: uint8 `(H, W)` as a file of one slice."""

VOLUMES: dict[str, Callable[[np.ndarray, Grid], bytes]] = {
    "nifti": to_nifti,
    "metaimage": lambda voxels, grid: write_by_itk(voxels, grid, ".mha"),
    "nrrd": lambda voxels, grid: write_by_itk(voxels, grid, ".nrrd"),
}
"""By format: voxels on their grid, as they are to be read back, as a file of one volume."""


def put_scan(uri: str, name: str, voxels: np.ndarray, grid: Grid) -> None:
    """Write a scan in a format below a URI; of a format of slices the middle one, in grey levels."""
    found = FORMATS[name]
    if found.layout == "series":
        put_series(uri, to_dicom(voxels, grid))
        return
    grey = (voxels[len(voxels) // 2] // 4 + 230).clip(0, 255).astype(np.uint8)
    content = SLICES[name](grey) if found.layout == "slice" else VOLUMES[name](voxels, grid)
    storage.publish(storage.join(uri, f"scan{found.suffixes[-1]}"), content)
