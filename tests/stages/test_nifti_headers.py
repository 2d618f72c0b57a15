"""NIfTI headers: units, two positions and none; every viewer shows the mask on its image."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from tasks.stages.segmentation_run import Run
from tests.stages.bright import scans_of, segment
from tests.volumes import Truth, grid_around

TRUTH = Truth()
GRID = grid_around(TRUTH, (40, 44, 20), (1.0, 1.5, 3.0), np.diag([-1.0, 1.0, 1.0]))
ML = TRUTH.mask(GRID).sum() * GRID.voxel_mm3 / 1000


def _image(*, sform: int = 1, qform: int = 1, shift: float = 0.0, scale: float = 1.0, unit: int = 2) -> nib.Nifti1Image:
    """Return the scan with both positions, the qform shifted, in another unit."""
    affine = GRID.affine.copy()
    affine[:3] *= scale
    moved = affine.copy()
    moved[:3, 3] += shift * scale
    image = nib.Nifti1Image(TRUTH.voxels(GRID), affine)
    image.set_sform(affine, sform)
    image.set_qform(moved, qform)
    image.header["xyzt_units"] = unit | 8  # and seconds
    image.header["descrip"] = b"Secret^Name"
    return image


def _segmented(run: Run, tmp_path: Path, content: bytes) -> tuple[object, Path]:
    (tmp_path / "scans" / "scan.nii.gz").write_bytes(content)
    [row] = segment(run, scans_of(run))
    return row, tmp_path / "output" / "masks" / "scan.nii.gz"


@pytest.mark.parametrize(
    ("header", "warned"),
    [
        ({}, False),
        ({"sform": 2, "qform": 1, "shift": 20.0}, True),
        ({"sform": 0, "qform": 1}, False),
        ({"sform": 4, "qform": 0}, False),
        ({"sform": 0, "qform": 0}, True),
        ({"shift": 1e-4}, False),
        ({"shift": 20.0, "scale": 1000.0, "unit": 3}, True),
        ({"scale": 1000.0, "unit": 3}, False),
        ({"scale": 0.001, "unit": 1}, False),
        ({"unit": 0}, False),
    ],
)
def test_every_viewer_shows_the_mask_on_its_image(
    run: Run, tmp_path: Path, header: dict[str, float], *, warned: bool
) -> None:
    """By sform or qform, in nibabel and ITK, image and mask lie in one place; millilitres are those of true voxels."""
    image = _image(**header)  # type: ignore[arg-type]
    row, path = _segmented(run, tmp_path, gzip.compress(image.to_bytes(), 1))
    assert (row.status, row.lesion_ml) == ("done", pytest.approx(ML, rel=1e-4))  # type: ignore[attr-defined]
    assert bool(row.warnings) == warned  # type: ignore[attr-defined]
    if header.get("shift", 0) > 1:
        assert "34.6 mm apart" in row.warnings[0]  # type: ignore[attr-defined]
    mask = nib.load(path)
    np.testing.assert_array_equal(mask.affine, nib.load(tmp_path / "scans" / "scan.nii.gz").affine)
    for of in ("get_sform", "get_qform"):
        for found, expected in zip(*(getattr(one, of)(coded=True) for one in (mask, image)), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert mask.header.get_xyzt_units() == image.header.get_xyzt_units()
    assert b"Secret" not in gzip.decompress(path.read_bytes())
    shown, scan = (sitk.ReadImage(str(one)) for one in (path, tmp_path / "scans" / "scan.nii.gz"))
    for of in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(shown, of)() == getattr(scan, of)()


def test_a_position_without_extent_gives_way_to_the_other(run: Run, tmp_path: Path) -> None:
    """An sform of zeros beside a good qform: the qform is used, as by ITK, with a warning."""
    image = _image()
    for row in ("srow_x", "srow_y", "srow_z"):
        image.header[row] = 0
    image = nib.Nifti1Image(TRUTH.voxels(GRID), None, image.header)
    row, _ = _segmented(run, tmp_path, gzip.compress(image.to_bytes(), 1))
    assert (row.status, row.lesion_ml) == ("done", pytest.approx(ML, rel=1e-4))  # type: ignore[attr-defined]
    assert row.warnings == ["The sform of the header has no extent; the qform is used."]  # type: ignore[attr-defined]


def test_a_file_gzipped_twice_is_refused_as_what_it_is(run: Run, tmp_path: Path) -> None:
    """It is not damaged, and uploading it again would not help."""
    row, _ = _segmented(run, tmp_path, gzip.compress(gzip.compress(_image().to_bytes(), 1)))
    assert row.error == "The file is gzipped twice. Unpack it once."  # type: ignore[attr-defined]
