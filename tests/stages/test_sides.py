"""Whether the sides of a scan are known: only where its header says so, never by a guess."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tasks.stages.segmentation_run import Run
from tests.bad_inputs import png
from tests.itk_files import write_by_itk
from tests.stages.bright import scans_of, segment
from tests.volumes import Truth, grid_around, put_series, to_dicom, to_nifti

TRUTH = Truth()
GRID = grid_around(TRUTH, (28, 44, 48), (1.5, 1.5, 1.5), np.eye(3))


def _bare_nifti() -> bytes:
    """Return a volume whose header has spacing and no orientation."""
    image = nib.Nifti1Image(TRUTH.voxels(GRID), None)
    image.header.set_zooms((1.5, 1.5, 1.5))
    image.header["sform_code"] = image.header["qform_code"] = 0
    return bytes(image.to_bytes())


@pytest.mark.parametrize(
    ("name", "content", "is_known"),
    [
        ("scan.nii.gz", to_nifti(TRUTH.voxels(GRID), GRID), True),
        ("scan.nii", _bare_nifti(), False),
        ("scan.nrrd", write_by_itk(TRUTH.voxels(GRID), GRID, ".nrrd"), True),
        ("scan.mha", write_by_itk(TRUTH.voxels(GRID), GRID, ".mha"), True),
        ("slice.png", png(), False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sides_are_known_where_the_header_says_so(
    run: Run, tmp_path: Path, name: str, content: bytes, is_known: bool
) -> None:
    """Volumes with an orientation, not those without, and no picture of a slice."""
    (tmp_path / "scans" / name).write_bytes(content)
    [row] = segment(run, scans_of(run))
    assert (row.error, row.is_oriented) == (None, is_known)


def test_sides_of_a_nrrd_without_space_are_not_known(run: Run, tmp_path: Path) -> None:
    """Spacings alone say nothing of left and right."""
    voxels = TRUTH.voxels(GRID)
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: {' '.join(map(str, voxels.shape[::-1]))}\n"
        "spacings: 1.5 1.5 1.5\nendian: little\nencoding: raw\n\n"
    )
    (tmp_path / "scans" / "scan.nrrd").write_bytes(header.encode() + voxels.astype("<i2").tobytes())
    [row] = segment(run, scans_of(run))
    assert (row.error, row.is_oriented) == (None, False)


def test_sides_of_a_series_are_known(run: Run, tmp_path: Path) -> None:
    """A series without orientation is refused."""
    put_series((tmp_path / "scans").as_uri(), to_dicom(TRUTH.voxels(GRID), GRID))
    [row] = segment(run, scans_of(run))
    assert (row.error, row.is_oriented) == (None, True)
