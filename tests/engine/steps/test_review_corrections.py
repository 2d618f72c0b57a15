"""Corrections come in, and malformed ones are refused: the whole step, over real files."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from tasks.engine.steps.review import review
from tasks.io.formats.nifti import write_nifti_mask
from tasks.io.outputs import reviews, segmentations
from tests.bad_inputs import png
from tests.engine.steps.review_output import CT, TRUTH, VOLUME, corrections_of, package_of, read_itk, rows_of, segmented
from tests.stages.reviewed import correct_with_itk, publish_segmentation, put_back
from tests.volumes import put_series, to_dicom, to_nifti


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A segmentation of two slices, a series and a volume."""
    return segmented(tmp_path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"])
def test_correction_in_any_format_is_taken_in(output: Path, suffix: str) -> None:
    """A mask that ITK writes in a format of volumes is accepted, and its label is the one that was written."""
    review(output.as_uri(), n_scans=10)
    grown = {name: correct_with_itk(output, name, suffix=suffix) for name in ("ct", "volume", "phantom_070_1")}
    handle = review(output.as_uri(), n_scans=0)
    assert (handle.n_corrections, handle.n_new_refusals) == (3, 0)
    for scan_id, row in corrections_of(output).items():
        assert row.n_voxels_after == np.count_nonzero(grown[scan_id]) > row.n_voxels_before
        assert 0.5 < row.dice_with_prediction < 1
    label = read_itk(output / "review" / "accepted" / "ct" / "mask.nii.gz")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(label), grown["ct"])


def test_slice_comes_back_as_png(output: Path) -> None:
    """The mask of a slice is packaged as PNG too, and a PNG of 0 and 255 is accepted."""
    review(output.as_uri(), n_scans=10)
    put_back(output, "phantom_070_1.png", (package_of(output, "phantom_070_1") / "mask.png").read_bytes())
    review(output.as_uri(), n_scans=0)
    assert corrections_of(output)["phantom_070_1"].dice_with_prediction == 1.0


def _moved(output: Path) -> bytes:
    mask = read_itk(package_of(output, "volume") / "mask.nii.gz")
    mask.SetOrigin([mask.GetOrigin()[0] + 1.0, *mask.GetOrigin()[1:]])
    path = output.parent / "moved.nii.gz"
    SimpleITK.WriteImage(mask, str(path))
    return path.read_bytes()


def _values(output: Path) -> bytes:
    mask = read_itk(package_of(output, "volume") / "mask.nii.gz")
    path = output.parent / "values.nii.gz"
    SimpleITK.WriteImage(mask * 3 + 1, str(path))
    return path.read_bytes()


def _cropped(output: Path) -> bytes:
    path = output.parent / "cropped.nii.gz"
    SimpleITK.WriteImage(read_itk(package_of(output, "volume") / "mask.nii.gz")[:, :, 1:], str(path))
    return path.read_bytes()


def _of_other_series(output: Path) -> bytes:
    other = output.parent / "other"
    put_series((other / "ct2").as_uri(), to_dicom(TRUTH.voxels(CT), CT, series=2))
    publish_segmentation(other, output.parent / "output2", dicom_seg=True)
    return (output.parent / "output2" / "masks" / "ct2.dcm").read_bytes()


REFUSED = {
    "another grid": ("volume.nii.gz", _moved, "mixed_geometry"),
    "another shape": ("volume.nii.gz", _cropped, "shape_mismatch"),
    "another scan's mask": (
        "volume.nii.gz",
        lambda output: (package_of(output, "ct") / "mask.nii.gz").read_bytes(),
        "mixed_geometry",
    ),
    "another series": ("ct.dcm", _of_other_series, "other_scan"),
    "no binary mask": ("volume.nii.gz", _values, "mask_values"),
    "cut short": ("volume.nii.gz", lambda output: _moved(output)[:200], "unreadable"),
    "no mask at all": ("volume.nii.gz", lambda _: b"a picture", "unreadable"),
    "no DICOM": ("ct.dcm", lambda _: b"a picture", "wrong_suffix"),
    "a slice for a volume": ("volume.png", lambda _: png(), "unsupported_format"),
    "a slice of another size": ("phantom_070_1.png", lambda _: png(), "shape_mismatch"),
    "a format without reader": ("volume.docx", lambda _: b"a letter", "unsupported_format"),
    "an unknown scan": ("john_doe.nii.gz", _moved, "unknown_scan"),
    "an empty file": ("volume.nii.gz", lambda _: b"", "empty_file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_malformed_correction_is_a_row_and_the_rest_goes_on(
    output: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """It is refused with a code and one sentence, counts as new once, and a good one beside it is accepted."""
    name, make, code = REFUSED[case]
    review(output.as_uri(), n_scans=10)
    put_back(output, name, make(output))
    correct_with_itk(output, "phantom_070_2")
    handles = [review(output.as_uri(), n_scans=0) for _ in range(2)]
    refused = corrections_of(output)[name.partition(".")[0]]
    assert "preparation." not in (refused.error or ""), "a review has no such parameter"
    assert (refused.status, refused.error_code) == ("refused", code), refused.error
    assert refused.error
    assert refused.label_sha256 is None
    assert corrections_of(output)["phantom_070_2"].status == "accepted"
    assert [(handle.n_corrections, handle.n_new_refusals) for handle in handles] == [(1, 1), (1, 0)]
    assert "john_doe" not in caplog.text


def test_two_files_for_one_scan_are_both_refused(output: Path) -> None:
    """Which of them is meant is not guessed."""
    review(output.as_uri(), n_scans=10)
    for suffix in (".nii.gz", ".nrrd"):
        correct_with_itk(output, "volume", suffix=suffix)
    assert review(output.as_uri(), n_scans=0).n_new_refusals == 2
    assert {row.error_code for row in reviews.read_corrections(output.as_uri())} == {"duplicate_slice"}


def test_link_out_of_the_folder_is_not_followed(output: Path) -> None:
    """Whoever may write to the folder of the corrections does not read other files by it."""
    review(output.as_uri(), n_scans=10)
    link = put_back(output, "volume.nii.gz", b"")
    link.unlink()
    link.symlink_to(package_of(output, "volume") / "mask.nii.gz")
    review(output.as_uri(), n_scans=0)
    assert corrections_of(output)["volume"].error_code == "unsafe_member"


def test_link_to_a_folder_ends_no_review(output: Path) -> None:
    """It is refused like any other; what else was put in is taken in."""
    review(output.as_uri(), n_scans=10)
    correct_with_itk(output, "volume")
    (output / "review" / "corrections" / "ct.nii.gz").symlink_to(output / "masks")
    review(output.as_uri(), n_scans=0)
    assert corrections_of(output)["volume"].status == "accepted"


def test_correction_of_a_scan_that_is_in_the_table_no_more_ends_no_review(output: Path) -> None:
    """It was taken in before and stays; the viewer, which has no image of it any more, shows the others."""
    review(output.as_uri(), n_scans=10)
    correct_with_itk(output, "volume")
    review(output.as_uri(), n_scans=10)
    manifest, rows = segmentations.find_manifest(output.as_uri()), rows_of(output)
    assert manifest is not None
    del rows["volume"]
    segmentations.publish(output.as_uri(), manifest, list(rows.values()), page="")
    review(output.as_uri(), n_scans=10)
    assert corrections_of(output)["volume"].status == "accepted"
    page = (output / "review" / "viewer.html").read_text(encoding="utf-8")
    assert ">ct<" in page
    assert ">volume<" not in page


def test_correction_of_a_scan_that_changed_since_is_checked_again(output: Path) -> None:
    """It was drawn on another image; segmented anew, the scan is to be looked at again."""
    review(output.as_uri(), n_scans=10)
    correct_with_itk(output, "volume")
    review(output.as_uri(), n_scans=0)
    scans = output.parent / "scans"
    (scans / "volume.nii.gz").write_bytes(to_nifti(TRUTH.voxels(VOLUME) + 1, VOLUME))
    before = corrections_of(output)["volume"]
    publish_segmentation(scans, output)
    review(output.as_uri(), n_scans=0)
    assert corrections_of(output)["volume"].source_fingerprint != before.source_fingerprint


def test_accepted_correction_outlives_its_scan(output: Path) -> None:
    """A later run rejects the scan, or no longer finds it: the correction stays; a new file for it is refused."""
    review(output.as_uri(), n_scans=10)
    for scan_id, suffix in (("volume", ".nii.gz"), ("ct", ".seg.nrrd")):
        correct_with_itk(output, scan_id, suffix=suffix)
    review(output.as_uri(), n_scans=0)
    before = corrections_of(output)
    rows = [row for scan_id, row in rows_of(output).items() if scan_id != "ct"]
    rejected = {"status": "failed", "error_code": "unreadable", "error": "Damaged.", "mask_uri": None}
    rows = [row.model_copy(update=rejected) if row.scan_id == "volume" else row for row in rows]
    segmentations.publish(output.as_uri(), segmentations.find_manifest(output.as_uri()), rows, page="")
    assert review(output.as_uri(), n_scans=0).n_new_refusals == 0
    assert corrections_of(output) == before
    put_back(output, "volume.nii.gz", b"another")
    review(output.as_uri(), n_scans=0)
    assert corrections_of(output)["volume"].error_code == "unknown_scan"


def test_label_that_was_overwritten_is_made_anew(output: Path) -> None:
    """What lies in review/accepted is the review's: another label there is replaced by that of the reader's file."""
    review(output.as_uri(), n_scans=10)
    correct_with_itk(output, "volume")
    review(output.as_uri(), n_scans=0)
    label = output / "review" / "accepted" / "volume" / "mask.nii.gz"
    accepted = SimpleITK.GetArrayFromImage(read_itk(label))
    label.write_bytes(write_nifti_mask(np.zeros(VOLUME.shape, np.uint8), VOLUME))
    review(output.as_uri(), n_scans=0)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(read_itk(label)), accepted)


def test_correction_that_is_known_is_not_taken_in_again(output: Path) -> None:
    """A second review changes neither row nor label; new content is a new correction, no file is none."""
    review(output.as_uri(), n_scans=10)
    correct_with_itk(output, "volume")
    review(output.as_uri(), n_scans=0)
    first, label = corrections_of(output)["volume"], output / "review" / "accepted" / "volume" / "mask.nii.gz"
    written = label.stat().st_mtime_ns
    review(output.as_uri(), n_scans=0)
    assert corrections_of(output)["volume"] == first
    assert label.stat().st_mtime_ns == written
    empty = np.zeros(VOLUME.shape, np.uint8)
    put_back(output, "volume.nii.gz", write_nifti_mask(empty, VOLUME))
    review(output.as_uri(), n_scans=0)
    row = corrections_of(output)["volume"]
    assert (row.status, row.n_voxels_after, row.dice_with_prediction) == ("accepted", 0, 0.0)
    (output / "review" / "corrections" / "volume.nii.gz").unlink()
    assert review(output.as_uri(), n_scans=0).n_corrections == 0
    assert corrections_of(output) == {}
