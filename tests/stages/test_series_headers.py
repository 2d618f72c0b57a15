"""What headers of DICOM files say: no preamble, many frames, padding, bits at the top of a word, no HU."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from tasks.io import storage
from tasks.stages.segmentation_run import Run
from tests.stages.bright import scans_of, segment
from tests.stages.series import GRID, ML, VOXELS, ct_slices, rows_of
from tests.volumes import enhanced, put_series, to_bytes, to_dicom


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize("name", ["{n}.dcm", "IM{n}"])
def test_files_without_preamble_are_read(run: Run, name: str, *, is_plain: bool) -> None:
    """As old exports and planning systems write them, with a meta header or without."""
    for number, dataset in enumerate(ct_slices()):
        content = to_bytes(dataset)[132:]
        if is_plain:
            content = content[12 + int.from_bytes(content[8:12], "little") :]
        storage.publish(storage.join(run.request.scans_uri, "pat", name.format(n=number)), content)
    [row] = segment(run, scans_of(run))
    assert (row.status, row.lesion_ml) == ("done", pytest.approx(ML))


@pytest.mark.parametrize("sop_class", [EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage])
def test_both_kinds_of_enhanced_ct_are_read(run: Run, sop_class: str) -> None:
    """A multi-frame file, made by a scanner or converted from single slices."""
    dataset = enhanced(ct_slices())
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    [row] = rows_of(run, {"pat": [dataset]})
    assert (row.status, row.lesion_ml) == ("done", pytest.approx(ML))


def test_a_cone_beam_file_is_refused_for_what_it_is(run: Run) -> None:
    """Frames without positions in a class that has one frame."""
    [row] = rows_of(run, {"pat": [_frames_without_positions()]})
    assert row.error_code == "missing_position"
    assert "as of a cone beam" in (row.error or "")


def _frames_without_positions() -> Dataset:
    dataset = enhanced(ct_slices())
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    return dataset


def test_padding_is_air(run: Run) -> None:
    """A padding value above all others, in unsigned pixels, is no lesion; nor is a range of them."""
    slices = ct_slices()
    for dataset in slices:
        pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(40, 44).copy()
        pixels[:3], pixels[3] = 63536, 63000
        dataset.PixelData = pixels.tobytes()
        dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = 63536, 62900
    [row] = rows_of(run, {"pat": slices})
    assert (row.status, row.lesion_ml) == ("done", pytest.approx(ML))


def test_bits_stored_at_the_top_of_a_word_are_moved_down(run: Run) -> None:
    """Twelve bits with High Bit 15 are the values that they are with High Bit 11."""
    slices = ct_slices()
    for dataset in slices:
        dataset.PixelData = (np.frombuffer(dataset.PixelData, "<u2") << 4).tobytes()
        dataset.BitsStored, dataset.HighBit = 12, 15
    [row] = rows_of(run, {"pat": slices})
    assert (row.status, row.lesion_ml) == ("done", pytest.approx(ML))


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_lost_outer_slice_is_said_on_the_series(run: Run, content: bytes) -> None:
    """A first file that cannot be read is a row of its own, and the series warns that slices may be missing."""
    put_series(storage.join(run.request.scans_uri, "pat"), ct_slices()[1:])
    storage.publish(storage.join(run.request.scans_uri, "pat/first.dcm"), content)
    rows = {row.scan_id: row for row in segment(run, scans_of(run))}
    assert rows["pat__first"].status == "failed"
    assert rows["pat"].warnings == ["1 file beside the series cannot be read; outer slices may be missing."]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"RescaleType": "MGML"}, "not_hu", "Rescale Type is MGML"),
        ({"RescaleType": "Z_EFF"}, "not_hu", "Rescale Type is Z_EFF"),
        ({"ImageType": ["DERIVED", "PRIMARY", "PERFUSION", "CBF"]}, "not_hu", "Image Type holds PERFUSION"),
        (
            {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MATERIAL_DENSITY"]},
            "not_hu",
            "Image Type holds MATERIAL_DENSITY",
        ),
    ],
)
def test_values_that_are_no_hounsfield_units_are_no_scan(
    run: Run, change: dict[str, object], code: str, said: str
) -> None:
    """By the header: iodine maps, effective atomic numbers, perfusion."""
    [row] = rows_of(run, {"pat": ct_slices(**change)})
    assert (row.status, row.error_code, row.warnings) == ("not_a_scan", code, [])
    assert (row.error or "").startswith(said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"RescaleType": "US"}, "Rescale Type is US, which names no unit; values are taken for Hounsfield units."),
        ({"BodyPartExamined": "HEAD"}, "Body Part Examined is HEAD; a chest CT was expected."),
    ],
)
def test_what_a_header_only_hints_at_is_a_warning(run: Run, change: dict[str, object], said: str) -> None:
    """Headers are often wrong about it."""
    [row] = rows_of(run, {"pat": ct_slices(**change)})
    assert (row.status, row.warnings) == ("done", [said])


@pytest.mark.parametrize("padding", [None, -1900, -3000])
@pytest.mark.parametrize("content", ["a chest", "HU + 1024", "a head"])
def test_content_without_aerated_lung_is_flagged(run: Run, content: str, padding: int | None) -> None:
    """Values that lost their intercept and other body parts, whatever air or padding lies around them."""
    voxels = VOXELS.astype(np.int16)
    if content == "HU + 1024":
        voxels = voxels + 1024
    if content == "a head":
        voxels = np.where(VOXELS < -500, 40, VOXELS).astype(np.int16)
        voxels[:, :, :9] = -1000
    slices = to_dicom(voxels, GRID, RescaleIntercept=-3024)
    for dataset, image in zip(slices, voxels.astype(np.int32), strict=True):
        if padding is not None:
            image[:6] = padding
        dataset.PixelData = (image + 3024).astype("<u2").tobytes()
    [row] = rows_of(run, {"pat": slices})
    assert row.status == "done"
    assert ("hu_implausible" in row.flags) == (content != "a chest")
