"""Headers with their voxels in another file, packed volumes, and files that only their content names."""

import bz2
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from tasks.core.volumes import LPS_TO_RAS
from tasks.stages.segmentation_run import Run
from tests.bad_inputs import pack
from tests.stages.bright import scans_of, segment
from tests.volumes import Truth, grid_around, put_series, to_dicom, to_nifti

TRUTH = Truth()
GRID = grid_around(TRUTH, (20, 40, 44), (3.0, 1.0, 1.0), np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])
VOXELS = TRUTH.voxels(GRID)
ML = TRUTH.mask(GRID).sum() * GRID.voxel_mm3 / 1000


def _write_by_itk(path: Path, *, is_packed: bool) -> None:
    image = sitk.GetImageFromArray(VOXELS)
    lps = LPS_TO_RAS @ GRID.affine
    image.SetSpacing([float(value) for value in np.linalg.norm(lps[:3, 2::-1], axis=0)])
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    sitk.WriteImage(image, str(path), is_packed)


def _write_pair(path: Path) -> None:
    image = nib.Nifti1Pair(VOXELS.T, GRID.transposed().affine)
    nib.save(image, path)


WRITERS = {
    "mhd and raw": lambda folder: _write_by_itk(folder / "scan.mhd", is_packed=False),
    "mhd and zraw": lambda folder: _write_by_itk(folder / "scan.mhd", is_packed=True),
    "nhdr and raw": lambda folder: _write_by_itk(folder / "scan.nhdr", is_packed=False),
    "nhdr and raw.gz": lambda folder: _write_by_itk(folder / "scan.nhdr", is_packed=True),
    "hdr and img": lambda folder: _write_pair(folder / "scan.img"),
    "nii.bz2": lambda folder: (folder / "scan.nii.bz2").write_bytes(
        bz2.compress(to_nifti(VOXELS.T, GRID.transposed(), is_gzipped=False))
    ),
}


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("form", WRITERS)
def test_header_and_voxels_are_one_scan(run: Run, tmp_path: Path, form: str, *, is_packed: bool) -> None:
    """In a folder and in an archive: one row, the millilitres of the lesion, nothing left alone."""
    folder = tmp_path / ("made" if is_packed else "scans")
    folder.mkdir(exist_ok=True)
    WRITERS[form](folder)
    if is_packed:
        pack("zip", {file.name: file.read_bytes() for file in folder.iterdir()}, tmp_path / "scans" / "night.zip")
    [row] = segment(run, scans_of(run))
    assert (row.scan_id, row.status) == ("night__scan" if is_packed else "scan", "done")
    assert row.lesion_ml == pytest.approx(ML, rel=1e-6)


def test_new_voxels_are_a_new_scan(run: Run, tmp_path: Path) -> None:
    """The fingerprint is that of both files."""
    _write_by_itk(tmp_path / "scans" / "scan.mhd", is_packed=False)
    [before] = scans_of(run)
    voxels = tmp_path / "scans" / "scan.raw"
    voxels.write_bytes(voxels.read_bytes()[::-1])
    [after] = scans_of(run)
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    ("gone", "code", "said"),
    [
        ("scan.raw", "unsupported_format", "Its voxels are not with it"),
        ("scan.mhd", "unsupported_format", "Files of type .raw are not read. Its header is not beside it;"),
    ],
)
def test_half_of_a_pair_is_named(run: Run, tmp_path: Path, gone: str, code: str, said: str) -> None:
    """A header without voxels, and voxels without a header."""
    _write_by_itk(tmp_path / "scans" / "scan.mhd", is_packed=False)
    (tmp_path / "scans" / gone).unlink()
    [row] = segment(run, scans_of(run))
    assert (row.status, row.error_code) == ("failed", code)
    assert (row.error or "").startswith(said)


@pytest.mark.parametrize("named", ["other.raw", "../scan.raw", "/etc/passwd", "LIST", "scan%03d.raw 1 3 1"])
def test_only_the_file_of_the_same_name_is_read_with_a_header(run: Run, tmp_path: Path, named: str) -> None:
    """Whatever else a header names, here or elsewhere on the machine, is not opened."""
    _write_by_itk(tmp_path / "scans" / "scan.mhd", is_packed=False)
    header = tmp_path / "scans" / "scan.mhd"
    header.write_text(header.read_text().replace("ElementDataFile = scan.raw", f"ElementDataFile = {named}"))
    [row] = segment(run, scans_of(run))
    assert (row.status, row.error_code) == ("failed", "unsupported_format")


def test_voxels_that_are_a_link_elsewhere_are_not_read(run: Run, tmp_path: Path) -> None:
    """A header brings in no file from beyond the folder of the scans."""
    _write_by_itk(tmp_path / "scans" / "scan.mhd", is_packed=False)
    (tmp_path / "scans" / "scan.raw").rename(tmp_path / "secret.raw")
    (tmp_path / "scans" / "scan.raw").symlink_to(tmp_path / "secret.raw")
    [row] = segment(run, scans_of(run))
    assert (row.status, row.error_code) == ("failed", "unsafe_member")


@pytest.mark.parametrize("suffix", [".img", ".CT", ".dic", ".1.2.3_x", ".IMA", ".foo", ""])
def test_dicom_is_known_by_its_content(run: Run, suffix: str) -> None:
    """Whatever its files are called."""
    put_series(f"{run.request.scans_uri}/pat", to_dicom(VOXELS, GRID), suffix=suffix)
    [row] = segment(run, scans_of(run))
    assert (row.scan_id, row.status, row.lesion_ml) == ("pat", "done", pytest.approx(ML))
