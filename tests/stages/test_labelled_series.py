"""DICOM series are labelled by DICOM-SEG, or by a volume on their grid; masks are found again slice by slice."""

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from tasks.core.config.preparation import PreparationConfig
from tasks.core.errors import ConfigError, DataError, ErrorCode
from tasks.core.rows import SlicePair
from tasks.core.volumes import Grid
from tasks.io import storage
from tasks.io.formats.nifti import write_nifti_mask
from tasks.io.outputs.datasets import SliceRow
from tasks.io.sources import discover_source
from tasks.stages.labelled_pairs import preprocess_pair, reference_mask
from tests.bad_inputs import png
from tests.volumes import Truth, enhanced, grid_around, put_series, to_bytes, to_dicom

TRUTH = Truth()
DOWN = grid_around(TRUTH, (24, 44, 48), (2.0, 1.5, 1.5), np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])
BESIDE = Grid(DOWN.shape, DOWN.affine @ np.array([[1, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
"""On the same lattice, a metre away."""

ELSEWHERE = Grid(DOWN.shape, DOWN.affine + np.diag([0, 0, 1, 0])[:, [0, 1, 3, 2]])
PREPARATION = PreparationConfig(size_px=64)


def _seg(slices: list[Dataset], mask: np.ndarray, kind: str = "BINARY") -> bytes:
    """Return a DICOM-SEG as another program writes it; slices without lesion are left out."""
    described = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    for dataset in slices:
        for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime", "StudyID"):
            setattr(dataset, keyword, "")
        dataset.ReferringPhysicianName, dataset.SliceThickness = "", 2.0
    segmentation = hd.seg.Segmentation(
        source_images=slices,
        pixel_array=mask if kind == "BINARY" else mask.astype(np.float32) * 0.9,
        segmentation_type=kind,
        segment_descriptions=[described],
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number="1",
    )
    return to_bytes(segmentation)


def _source(root: Path, *, kind: str, packing: str) -> None:
    """Write a labelled series as one of the ways it comes in."""
    slices, mask = to_dicom(TRUTH.voxels(DOWN), DOWN), TRUTH.mask(DOWN)
    if packing == "enhanced":
        storage.publish(str(root / "images" / "anna_1.dcm"), to_bytes(enhanced(slices)))
    else:
        put_series(str(root / "images" / "anna_1"), slices, suffix=".dcm" if packing == "series" else "")
    if kind == "nifti":
        label = write_nifti_mask(mask.T, DOWN.transposed())
        storage.publish(str(root / "masks" / "anna_1.nii.gz"), label)
        return
    name = "anna_1.dcm" if packing == "series" else "anna_1/seg"
    storage.publish(str(root / "masks" / name), _seg(slices, mask, kind))


def _rows(root: Path) -> tuple[SlicePair, list[SliceRow]]:
    [pair] = discover_source(str(root), patient_id_pattern=r"(?P<patient>.+)_\d").pairs
    return pair, list(preprocess_pair(pair, PREPARATION))


@pytest.mark.parametrize("packing", ["series", "without suffix", "enhanced"])
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "nifti"])
def test_a_labelled_series_becomes_its_slices(tmp_path: Path, kind: str, packing: str) -> None:
    """One case of its patient; each slice has the lesion where it is, and so has the reference in source pixels."""
    _source(tmp_path, kind=kind, packing=packing)
    pair, rows = _rows(tmp_path)
    assert (pair.patient_id, [row["slice_index"] for row in rows]) == ("anna", list(range(24)))
    assert {(row["source_height"], row["source_width"]) for row in rows} == {(44, 48)}
    truth = DOWN.to_reading(TRUTH.mask(DOWN))
    for row, mask in zip(rows, truth, strict=True):
        assert row["spacing_mm"] == pytest.approx([2.0, 1.5, 1.5])
        found = reference_mask(row["mask_uri"], row["slice_index"], "binary", row["image_uri"])
        np.testing.assert_array_equal(found, mask)
        assert bool(row["mask"].any()) == bool(mask.any())
        if mask.any():
            assert row["image"][row["mask"] > 0].mean() > row["image"][row["mask"] == 0].mean() + 50


LABELS: dict[str, Callable[[list[Dataset], np.ndarray], bytes]] = {
    "its own": _seg,
    "of another grid": lambda _, mask: _seg(to_dicom(TRUTH.voxels(DOWN), ELSEWHERE), mask),
    "a metre away": lambda _, mask: _seg(to_dicom(TRUTH.voxels(DOWN), BESIDE), mask),
    "no DICOM": lambda _slices, _mask: b"no DICOM",
    "no segmentation": lambda slices, _: to_bytes(slices[0]),
}


@pytest.mark.parametrize(
    ("image", "label", "code"),
    [
        ("one series", "of another grid", "mixed_geometry"),
        ("one series", "a metre away", "mixed_geometry"),
        ("one series", "no DICOM", "unreadable"),
        ("one series", "no segmentation", "unreadable"),
        ("two series", "its own", "ambiguous_series"),
        ("a gap", "its own", "missing_slices"),
    ],
)
def test_a_label_that_does_not_fit_its_series_is_named(tmp_path: Path, image: str, label: str, code: ErrorCode) -> None:
    """A segmentation of another grid, no segmentation, two series for one label: a code, and nothing is guessed."""
    slices, mask = to_dicom(TRUTH.voxels(DOWN), DOWN), TRUTH.mask(DOWN)
    kept = [dataset for number, dataset in enumerate(slices) if image != "a gap" or number != 9]
    put_series(str(tmp_path / "images" / "anna_1"), kept)
    if image == "two series":
        put_series(str(tmp_path / "images" / "anna_1"), to_dicom(TRUTH.voxels(DOWN), DOWN, series=2), suffix=".ima")
    storage.publish(str(tmp_path / "masks" / "anna_1.dcm"), LABELS[label](slices, mask))
    with pytest.raises(DataError) as caught:
        _rows(tmp_path)
    assert caught.value.code == code


def test_a_picture_is_no_mask_of_a_series(tmp_path: Path) -> None:
    """A DICOM slice with a PNG for a mask is refused in words that fit both."""
    put_series(str(tmp_path / "images" / "anna_1"), to_dicom(TRUTH.voxels(DOWN), DOWN)[:1])
    storage.publish(str(tmp_path / "masks" / "anna_1.png"), png())
    with pytest.raises(DataError, match=r"its mask a slice \(\.png\)") as caught:
        _rows(tmp_path)
    assert caught.value.code == "unsupported_format"


def test_an_index_may_name_the_folder_of_a_series(tmp_path: Path) -> None:
    """In an index.csv an image is a file, or a folder of DICOM files."""
    _source(tmp_path, kind="BINARY", packing="series")
    line = "images/anna_1,masks/anna_1.dcm,anna"
    (tmp_path / "index.csv").write_text(f"image,mask,patient_id\n{line}\n")
    [pair] = discover_source(str(tmp_path)).pairs
    assert len(list(preprocess_pair(pair, PREPARATION))) == 24


def test_a_text_file_beside_the_series_is_no_series(tmp_path: Path) -> None:
    """A README in the folder of images is rejected as what it is."""
    storage.publish(str(tmp_path / "images" / "README"), b"about")
    storage.publish(str(tmp_path / "masks" / "README"), b"about")
    with pytest.raises(ConfigError, match="no labelled slice"):
        discover_source(str(tmp_path))


def test_a_folder_with_a_dot_in_its_name_is_still_a_series(tmp_path: Path) -> None:
    """What stands behind the dot of a folder is no suffix."""
    put_series(str(tmp_path / "images" / "anna_1.v2a"), to_dicom(TRUTH.voxels(DOWN), DOWN))
    label = write_nifti_mask(TRUTH.mask(DOWN).T, DOWN.transposed())
    storage.publish(str(tmp_path / "masks" / "anna_1.v2a.nii.gz"), label)
    assert len(_rows(tmp_path)[1]) == 24


def test_a_series_whose_folder_has_a_dot_is_numbered_from_its_feet(tmp_path: Path) -> None:
    """A number in the name of a volume is no slice's, dot or not."""
    put_series(str(tmp_path / "images" / "study_7_3.v2a"), to_dicom(TRUTH.voxels(DOWN), DOWN))
    label = write_nifti_mask(TRUTH.mask(DOWN).T, DOWN.transposed())
    storage.publish(str(tmp_path / "masks" / "study_7_3.v2a.nii.gz"), label)
    [pair] = discover_source(str(tmp_path), patient_id_pattern=r"study_(?P<patient>\d+)_(?P<slice>\d+)").pairs
    assert pair.slice_index == 0
