"""Volumes in every format and orientation: the mask lands on the lesion, in the scan's own grid, read by SimpleITK."""

import itertools
from collections.abc import Callable
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from tasks.core.metrics import count_pixels, dice
from tasks.core.turns import turned_back
from tasks.core.volumes import Grid
from tasks.io import storage
from tasks.io.formats.dicom_seg import read_segmentation
from tasks.stages.load_scans import cut
from tasks.stages.segmentation_run import Run
from tests.bad_inputs import pack, png
from tests.itk_files import itk_grid, write_by_itk
from tests.stages.bright import bright_run, scans_of, segment
from tests.volumes import Truth, enhanced, grid_around, put_series, to_dicom, to_nifti

SIZE_PX = 128
TRUTH = Truth()
FLIPS = list(itertools.product((1, -1), repeat=3))
"""Of the three axes: all eight orientations of a volume whose axes are the patient's."""


def oblique(first: float, second: float) -> np.ndarray:
    """Return a rotation by two angles, degrees, about the first and the third axis."""
    a, b = np.radians(first), np.radians(second)
    about_first = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_third = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return about_first @ about_third


DIRECTIONS = {
    **{f"flips {flips}": np.diag(np.array(flips, float)) for flips in FLIPS},
    "axes swapped": np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]]),
    "oblique": oblique(12, 9),
    "oblique and flipped": oblique(-15, 20) @ np.diag([-1.0, 1, -1]),
}
"""World direction of each array axis, RAS+."""

SPACINGS_MM = {"even": (1.5, 1.5, 1.5), "thick slices": (5.0, 0.8, 0.8)}


def _write_nifti(folder: Path, grid: Grid) -> None:
    (folder / "scan.nii.gz").write_bytes(to_nifti(TRUTH.voxels(grid), grid))


def _write_mha(folder: Path, grid: Grid) -> None:
    (folder / "scan.mha").write_bytes(write_by_itk(TRUTH.voxels(grid), grid, ".mha"))


def _write_nrrd(folder: Path, grid: Grid) -> None:
    (folder / "scan.nrrd").write_bytes(write_by_itk(TRUTH.voxels(grid), grid, ".nrrd"))


def _write_dicom(folder: Path, grid: Grid) -> None:
    put_series(folder.as_uri(), to_dicom(TRUTH.voxels(grid), grid))


def _write_multi_frame(folder: Path, grid: Grid) -> None:
    put_series(folder.as_uri(), [enhanced(to_dicom(TRUTH.voxels(grid), grid))])


FORMATS: dict[str, Callable[[Path, Grid], None]] = {
    "nifti": _write_nifti,
    "mha": _write_mha,
    "nrrd": _write_nrrd,
    "dicom": _write_dicom,
    "multi-frame": _write_multi_frame,
}


def _corners(grid: Grid) -> list[float]:
    """Return the coordinates of the eight outermost voxels, flat."""
    corners = itertools.product(*((0, size - 1) for size in grid.shape))
    return [float(value) for corner in corners for value in (grid.affine @ [*corner, 1])[:3]]


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize(
    ("file_format", "spacing"),
    [*((name, "thick slices") for name in FORMATS), ("nifti", "even"), ("dicom", "even")],
)
def test_mask_lands_on_the_lesion_in_the_scans_own_grid(
    run: Run, tmp_path: Path, file_format: str, directions: str, spacing: str
) -> None:
    """SimpleITK finds the mask's centre within half a voxel of the lesion's, on the scan's grid; nibabel agrees."""
    grid = grid_around(TRUTH, (28, 44, 48), SPACINGS_MM[spacing], DIRECTIONS[directions])
    FORMATS[file_format](tmp_path / "scans", grid)
    [scan] = scans_of(run)
    [row] = segment(run, [scan])
    assert row.error is None
    path = tmp_path / "output" / "masks" / f"{scan.scan_id}.nii.gz"
    mask = SimpleITK.ReadImage(str(path))
    voxels = SimpleITK.GetArrayFromImage(mask)
    centre = np.argwhere(voxels)[:, ::-1].mean(axis=0)
    left, back, up = mask.TransformContinuousIndexToPhysicalPoint(centre.tolist())
    offset = np.abs(np.linalg.inv(grid.affine[:3, :3]) @ (np.array([-left, -back, up]) - TRUTH.centre))
    assert offset.max() <= 0.5
    found = itk_grid(mask)
    assert (dice(count_pixels(voxels, TRUTH.mask(found))) or 0) > 0.9
    np.testing.assert_allclose(nib.load(path).affine, found.transposed().affine, atol=1e-4)
    stored = grid.transposed() if file_format == "nifti" else grid
    if file_format in ("dicom", "multi-frame"):  # its slices go along their normal, whichever way they were written
        assert sorted(_corners(found)) == pytest.approx(sorted(_corners(stored)), abs=1e-3)
    else:
        np.testing.assert_allclose(found.affine, stored.affine, atol=1e-4)
        assert found.shape == stored.shape
    assert row.lesion_voxels == int(voxels.sum())
    assert row.lesion_ml == pytest.approx(4 / 3 * np.pi * TRUTH.radius_mm**3 / 1000, rel=0.15)
    assert row.n_lesions == 1


def test_a_long_series_gives_the_same_mask_in_pieces_as_whole(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut into pieces of a few slices, also where its slices are stored from head to feet, nothing changes."""
    for number, directions in enumerate(("flips (1, 1, 1)", "flips (-1, 1, 1)")):
        grid = grid_around(TRUTH, (28, 44, 48), (1.5, 1.5, 1.5), DIRECTIONS[directions][:, [2, 1, 0]])
        put_series(f"{run.request.scans_uri}/{number}", to_dicom(TRUTH.voxels(grid), grid))
    scans = scans_of(run)
    whole = list(segment(run, scans))
    monkeypatch.setattr("tasks.stages.load_scans.PIECE_SLICES", 5)
    assert [len(cut(scan)) for scan in scans] == [6, 6]
    pieces = list(segment(run, scans))
    assert [row.mask_sha256 for row in pieces] == [row.mask_sha256 for row in whole]
    assert all(row.lesion_voxels for row in whole)


def test_a_coronal_series_is_never_cut(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a reader's slices lie across the series' own, it is taken whole, however long it is."""
    monkeypatch.setattr("tasks.stages.load_scans.PIECE_SLICES", 5)
    grid = grid_around(TRUTH, (28, 44, 48), (1.5, 1.5, 1.5), np.array([[0, 0, -1.0], [-1, 0, 0], [0, -1, 0]]))
    put_series(run.request.scans_uri, to_dicom(TRUTH.voxels(grid), grid))
    [scan] = scans_of(run)
    assert cut(scan) == [scan]
    [row] = segment(run, [scan])
    assert row.lesion_ml == pytest.approx(4 / 3 * np.pi * TRUTH.radius_mm**3 / 1000, rel=0.15)


def test_an_archive_beside_its_unpacked_folder_is_other_scans(run: Run, tmp_path: Path) -> None:
    """Scans of one path, in an archive, in another and beside them, have ids of their own."""
    for packing in ("zip", "tar"):
        pack(packing, {"b.png": png()}, tmp_path / "scans" / f"a.{packing}")
    storage.publish(str(tmp_path / "scans" / "a" / "b.png"), png(50))
    scans = scans_of(run)
    assert len({scan.scan_id for scan in scans}) == len(scans) == 3


@pytest.mark.parametrize(
    ("changes", "is_made", "said"),
    [
        ({"FrameOfReferenceUID": None}, True, "The slices share no Frame of Reference UID;"),
        ({"FrameOfReferenceUID": "1.2.3"}, True, "The slices share no Frame of Reference UID;"),
        ({"SpecificCharacterSet": ""}, True, None),
        ({"SpecificCharacterSet": ["", "ISO 2022 IR 87"]}, True, None),
        ({"StudyInstanceUID": None}, False, "Not made: DICOM-SEG: the headers have no Study Instance UID"),
        ({"SOPInstanceUID": "1.2.3"}, False, "Not made: DICOM-SEG: slices share an SOP Instance UID"),
    ],
)
def test_a_dicom_seg_is_made_of_poor_headers_or_named(
    tmp_path: Path, changes: dict[str, object], is_made: bool, said: str | None
) -> None:
    """What can be mended is, with a warning; what cannot is named; the mask is there all the same."""
    grid = grid_around(TRUTH, (24, 44, 48), (2.0, 1.5, 1.5), np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])
    slices = to_dicom(TRUTH.voxels(grid), grid, **changes)
    for number, dataset in enumerate(slices):
        if changes.get("FrameOfReferenceUID") == "1.2.3":  # one of its own, as in LIDC
            dataset.FrameOfReferenceUID = f"1.2.3.{number + 1}"
    put_series(str(tmp_path / "scans"), slices)
    run = bright_run((tmp_path / "scans").as_uri(), (tmp_path / "output").as_uri(), dicom_seg=True)
    [row] = segment(run, scans_of(run))
    assert row.status == "done"
    assert [warning.startswith(said or "") for warning in row.warnings] == [True] * bool(said)
    path = tmp_path / "output" / "masks" / f"{row.scan_id}.dcm"
    assert path.exists() == is_made
    if is_made:
        found = read_segmentation(path.read_bytes(), grid)
        assert found.sum() == row.lesion_voxels


def test_grey_volumes_are_taken_as_they_are(run: Run, tmp_path: Path) -> None:
    """Eight-bit voxels are grey levels, flipped or not, and never pretend to be Hounsfield units."""
    grid = grid_around(TRUTH, (28, 44, 48), (1.5, 1.5, 1.5), np.diag([1.0, -1, -1]))
    grey = np.where(TRUTH.mask(grid), 220, 30).astype(np.uint8)
    (tmp_path / "scans" / "grey.nii").write_bytes(to_nifti(grey, grid, is_gzipped=False))
    [row] = segment(run, scans_of(run))
    assert (row.error, row.flags) == (None, [])
    assert row.lesion_ml == pytest.approx(4 / 3 * np.pi * TRUTH.radius_mm**3 / 1000, rel=0.15)


def test_scaled_voxels_are_scaled(run: Run, tmp_path: Path) -> None:
    """Slope and intercept of a NIfTI header are applied: stored values a tenth as fine mean the same lesion."""
    grid = grid_around(TRUTH, (28, 44, 48), (1.5, 1.5, 1.5), np.eye(3))
    image = nib.Nifti1Image(((TRUTH.voxels(grid) + 1024) // 10).astype(np.int16), grid.affine)
    image.header.set_slope_inter(10, -1024)
    (tmp_path / "scans" / "scaled.nii").write_bytes(image.to_bytes())
    [row] = segment(run, scans_of(run))
    assert (row.error, row.flags) == (None, [])
    assert row.lesion_ml == pytest.approx(4 / 3 * np.pi * TRUTH.radius_mm**3 / 1000, rel=0.15)


@pytest.mark.parametrize("is_multi_frame", [False, True])
def test_a_dicom_seg_lies_on_the_lesion_and_names_nobody(tmp_path: Path, is_multi_frame: bool) -> None:
    """Read by pydicom and highdicom: its frames, placed by their own positions, are the lesion; UIDs are made of it."""
    grid = grid_around(TRUTH, (24, 44, 48), (2.0, 1.5, 1.5), oblique(8, 5)[:, [2, 1, 0]] * [1, -1, -1])
    slices = to_dicom(TRUTH.voxels(grid), grid)
    scans, outputs = tmp_path / "scans", [tmp_path / "one", tmp_path / "other"]
    put_series(str(scans), [enhanced(slices)] if is_multi_frame else slices)
    found = []
    for output in outputs:
        run = bright_run(scans.as_uri(), output.as_uri(), dicom_seg=True)
        [row] = segment(run, scans_of(run))
        assert row.error is None
        path = output / "masks" / f"{row.scan_id}.dcm"
        assert b"Secret" not in path.read_bytes()
        found.append(highdicom.seg.segread(path))
    segmentation = found[0]
    assert segmentation.SOPInstanceUID == found[1].SOPInstanceUID
    image = highdicom.get_volume_from_series(slices)
    mask = segmentation.get_volume(combine_segments=True).match_geometry(image)  # refused unless on the image's grid
    assert mask.geometry_equal(image)
    assert mask.array.sum() == row.lesion_voxels
    frames = segmentation.pixel_array
    positions = [
        group.PlanePositionSequence[0].ImagePositionPatient for group in segmentation.PerFrameFunctionalGroupsSequence
    ]
    dice_by_slice = []
    for frame, position in zip(frames, positions, strict=True):
        distances = [np.linalg.norm(np.subtract(dataset.ImagePositionPatient, position)) for dataset in slices]
        assert min(distances) < 1e-3
        truth = TRUTH.mask(grid)[int(np.argmin(distances))]
        dice_by_slice.append(dice(count_pixels(frame, truth)))
    assert len(frames) == sum(mask.any() for mask in TRUTH.mask(grid))
    assert min(score for score in dice_by_slice if score is not None) > 0.6
    sources = {
        item.ReferencedSOPInstanceUID for item in segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert sources <= {dataset.SOPInstanceUID for dataset in slices}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "tif", "png"])
def test_a_picture_is_read_upright_and_its_mask_lies_on_the_stored_pixels(
    run: Run, tmp_path: Path, suffix: str, orientation: int
) -> None:
    """Whatever its format and EXIF orientation, the model sees the same picture, and the mask has the file's pixels."""
    upright = np.full((40, 56), 30, np.uint8)
    upright[5:15, 30:50] = 230
    stored = turned_back(upright, orientation)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save(tmp_path / "scans" / f"a.{suffix}", exif=exif, quality=100)
    [row] = segment(run, scans_of(run))
    mask = np.asarray(Image.open(tmp_path / "output" / "masks" / "a.png")) > 0
    assert mask.shape == stored.shape
    assert dice(count_pixels(mask.astype(np.uint8), (stored > 150).astype(np.uint8))) > 0.97
    assert bool(row.warnings) == (orientation != 1)
