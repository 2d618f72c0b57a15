"""What the viewer of a review shows: packaged scans, and corrected ones beside their prediction."""

import gzip
import hashlib
import re
from base64 import b64decode
from gzip import decompress as gunzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tasks.core.config.intensity import HuConfig
from tasks.engine.steps.review import review
from tasks.io.formats.nifti import write_nifti_mask
from tasks.io.outputs import segmentations
from tests.engine.steps.review_output import (
    TRUTH,
    VOLUME,
    package_of,
    rows_of,
    segmented,
)
from tests.stages.reviewed import correct_with_itk, publish_segmentation
from tests.volumes import to_nifti


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A segmentation of two slices, a series and a volume."""
    return segmented(tmp_path)


def test_the_viewer_shows_every_packaged_scan(output: Path) -> None:
    """Whatever its layout, most urgent first; its page is beside the packages."""
    review(output.as_uri(), n_scans=10)
    page = (output / "review" / "viewer.html").read_text(encoding="utf-8")
    packaged = {folder.name for folder in (output / "review" / "packages").iterdir()}
    assert packaged
    assert all(f">{scan_id}<" in page for scan_id in packaged)


def test_the_viewer_shows_corrections_beside_predictions(output: Path) -> None:
    """Whatever the layout; also where the mask of the package was itself corrected and moved."""
    review(output.as_uri(), n_scans=10)
    grown = {scan_id: correct_with_itk(output, scan_id) for scan_id in ("ct", "volume", "phantom_070_1")}
    for scan_id in grown:
        (package_of(output, scan_id) / "mask.nii.gz").unlink()
    review(output.as_uri(), n_scans=10)
    page = (output / "review" / "viewer.html").read_text(encoding="utf-8")
    listed = re.findall(r'data-is-corrected="(true|false)"><span>(.*?)<', page)
    assert [scan_id for is_corrected, scan_id in listed if is_corrected == "true"] == sorted(grown)
    assert [is_corrected for is_corrected, _ in listed] == ["false"] * (len(listed) - 3) + ["true"] * 3
    for number, (_, scan_id) in list(enumerate(listed))[-3:]:
        [content] = re.findall(rf'id="mask-{number}">(.*?)<', page)
        bits = nib.Nifti1Image.from_bytes(gunzip(b64decode(content))).get_fdata().astype(int)
        assert bits[bits & 1 > 0].size  # the prediction is within its growth
        assert set(np.unique(bits)) == {0, 2, 3}, scan_id
        side = np.cbrt(bits.size / grown[scan_id].size)
        assert np.count_nonzero(bits & 2) == pytest.approx(side**3 * np.count_nonzero(grown[scan_id]), rel=0.15)


def test_the_viewer_has_the_window_of_the_model(output: Path) -> None:
    """The manifest names it; one of an earlier version does not, and the page begins with that of the lung."""
    review(output.as_uri(), n_scans=10)
    assert "Model (5)" not in (output / "review" / "viewer.html").read_text(encoding="utf-8")
    manifest = segmentations.find_manifest(output.as_uri())
    assert manifest is not None
    known = manifest.model_copy(update={"hu": HuConfig(window_level_hu=-500, window_width_hu=1400)})
    segmentations.publish(output.as_uri(), known, list(rows_of(output).values()), page="")
    review(output.as_uri(), n_scans=10)
    page = (output / "review" / "viewer.html").read_text(encoding="utf-8")
    assert 'data-level="-500.0" data-width="1400.0">Model (5)' in page


def test_the_viewer_shows_no_mask_but_the_one_that_verdicts_are_on(output: Path) -> None:
    """A corrected scan that was segmented anew since is left out: its package holds the mask of before."""
    review(output.as_uri(), n_scans=10)
    correct_with_itk(output, "volume")
    review(output.as_uri(), n_scans=10)
    assert ">volume<" in (output / "review" / "viewer.html").read_text(encoding="utf-8")
    mask = write_nifti_mask(np.zeros(VOLUME.shape, np.uint8), VOLUME)
    (output / "masks" / "volume.nii.gz").write_bytes(mask)
    manifest, rows = segmentations.find_manifest(output.as_uri()), rows_of(output)
    assert manifest is not None
    rows["volume"] = rows["volume"].model_copy(update={"mask_sha256": hashlib.sha256(mask).hexdigest()})
    segmentations.publish(output.as_uri(), manifest, list(rows.values()), page="")
    review(output.as_uri(), n_scans=10)
    assert ">volume<" not in (output / "review" / "viewer.html").read_text(encoding="utf-8")


def test_the_viewer_names_sides_only_where_they_are_known(tmp_path: Path) -> None:
    """A volume whose header says nothing of its orientation lies in a guessed space."""
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "known.nii.gz").write_bytes(to_nifti(TRUTH.voxels(VOLUME), VOLUME))
    image = nib.Nifti1Image(TRUTH.voxels(VOLUME).transpose(2, 1, 0), None)
    image.header.set_zooms((2.0, 2.0, 4.0))
    (scans / "unknown.nii.gz").write_bytes(gzip.compress(image.to_bytes()))
    publish_segmentation(scans, tmp_path / "output")
    review((tmp_path / "output").as_uri(), n_scans=10)
    page = (tmp_path / "output" / "review" / "viewer.html").read_text(encoding="utf-8")
    found = re.findall(r'data-has-sides="(\w+)"[^>]*><span>(\w+)<', page)
    assert {scan: sides for sides, scan in found} == {"known": "true", "unknown": "false"}
