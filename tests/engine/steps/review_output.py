"""Segmentations for the tests of reviews, and what a review makes of them."""

from pathlib import Path

import numpy as np
import SimpleITK

from tasks.core.rows import CorrectionRow, ScanRow
from tasks.io.outputs import reviews, segmentations
from tests.phantoms import write_phantoms
from tests.stages.reviewed import publish_segmentation
from tests.volumes import Truth, grid_around, put_series, to_dicom, to_nifti

TRUTH = Truth()
OBLIQUE = np.linalg.qr(np.array([[0.1, 0.0, -1.0], [0.2, -1.0, 0.05], [1.0, 0.15, 0.1]]))[0]
FLIPPED = np.eye(3)[:, [2, 1, 0]] * [-1, -1, 1]
CT = grid_around(TRUTH, (12, 40, 44), (4.0, 1.5, 1.6), OBLIQUE)
VOLUME = grid_around(TRUTH, (44, 40, 12), (1.6, 1.5, 4.0), FLIPPED[:, ::-1])
NAMES = (b"phantom_", b"volume.nii", b"john_doe", b"Secret^Name", b"SECRET-ID")
"""Of files, and of the patient in the headers of the series."""


def write_scans(folder: Path) -> Path:
    """Write two slices, an oblique CT series and a flipped volume."""
    write_phantoms(folder / "made", n_patients=1, n_slices=4, size_px=96, first_patient=70)
    scans = folder / "scans"
    scans.mkdir()
    for path in sorted((folder / "made" / "frames").iterdir())[1:3]:
        path.rename(scans / path.name)
    put_series((scans / "ct").as_uri(), to_dicom(TRUTH.voxels(CT), CT))
    (scans / "volume.nii.gz").write_bytes(to_nifti(TRUTH.voxels(VOLUME), VOLUME))
    return scans


def segmented(folder: Path) -> Path:
    """Return a segmentation of these scans."""
    publish_segmentation(write_scans(folder), folder / "output")
    return folder / "output"


def rows_of(output: Path) -> dict[str, ScanRow]:
    """Return the rows of an output by scan."""
    return {row.scan_id: row for row in segmentations.read_rows(output.as_uri())}


def corrections_of(output: Path) -> dict[str, CorrectionRow]:
    """Return what became of corrections, by scan."""
    return {row.scan_id: row for row in reviews.read_corrections(output.as_uri())}


def read_itk(path: Path) -> SimpleITK.Image:
    """Return a volume as SimpleITK reads it."""
    return SimpleITK.ReadImage(str(path))


def place_of(image: SimpleITK.Image) -> list[float]:
    """Return size, origin, spacing and directions of a volume."""
    return [*image.GetSize(), *image.GetOrigin(), *image.GetSpacing(), *image.GetDirection()]


def package_of(output: Path, scan_id: str) -> Path:
    """Return the folder of a scan's package."""
    return output / "review" / "packages" / scan_id
