"""Scans to correct go out, and verdicts come in: the whole step, over real files."""

import zipfile
from gzip import decompress as gunzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from tasks.core.errors import ConfigError
from tasks.engine.steps.review import review
from tasks.io.formats import read_image
from tasks.io.outputs import reviews
from tasks.io.pseudonyms import KEY_VARIABLE, Seal
from tests.engine.steps.review_output import (
    CT,
    NAMES,
    TRUTH,
    VOLUME,
    corrections_of,
    package_of,
    place_of,
    read_itk,
    rows_of,
    segmented,
    write_scans,
)
from tests.phantoms import write_phantoms
from tests.stages.reviewed import correct_with_itk, publish_segmentation, put_back, write_verdicts
from tests.volumes import to_bytes, to_dicom, to_nifti


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A segmentation of two slices, a series and a volume."""
    return segmented(tmp_path)


@pytest.mark.parametrize("scan_id", ["ct", "volume", "phantom_070_1"])
def test_image_and_mask_of_a_package_lie_in_register(output: Path, scan_id: str) -> None:
    """ITK reads both on one grid, and the mask has the lesion where the image has it, oblique and flipped axes too."""
    review(output.as_uri(), n_scans=10)
    image, mask = (read_itk(package_of(output, scan_id) / name) for name in ("image.nii.gz", "mask.nii.gz"))
    assert place_of(image) == pytest.approx(place_of(mask), abs=1e-5)
    voxels, lesion = SimpleITK.GetArrayFromImage(image), SimpleITK.GetArrayFromImage(mask) > 0
    assert lesion.any()
    assert voxels[lesion].mean() > voxels[~lesion].mean() + 50
    readme = (package_of(output, scan_id) / "README.txt").read_text().splitlines()
    assert len(readme) == 5
    assert any(f"{scan_id}.nii.gz" in line for line in readme)


def test_a_package_lies_where_the_scan_lies(output: Path) -> None:
    """Origin, spacing and direction are those that ITK finds in the source itself; so are the values."""
    review(output.as_uri(), n_scans=10)
    scans = output.parent / "scans"
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(scans / "ct")))
    for scan_id, source in (("volume", read_itk(scans / "volume.nii.gz")), ("ct", reader.Execute())):
        packed = read_itk(package_of(output, scan_id) / "image.nii.gz")
        at = [(5, 6, 7), (0, 0, 0), (20, 12, 3)]
        for index in at:
            point = source.TransformIndexToPhysicalPoint(index)
            assert packed[packed.TransformPhysicalPointToIndex(point)] == pytest.approx(source[index]), scan_id
        assert packed.GetSpacing() == pytest.approx(source.GetSpacing(), abs=1e-4)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_package_of_a_series_has_a_dicom_seg(output: Path, kind: str) -> None:
    """It refers to the series and holds the mask, as bits or as labels; put back unchanged, it is accepted."""
    import highdicom as hd

    review(output.as_uri(), n_scans=10, kind=kind)
    path = package_of(output, "ct") / "segmentation.dcm"
    found = hd.seg.segread(path)
    assert found.segmentation_type.value == kind
    put_back(output, "ct.dcm", path.read_bytes())
    review(output.as_uri(), n_scans=0)
    row = corrections_of(output)["ct"]
    assert (row.status, row.dice_with_prediction) == ("accepted", 1.0), row.error
    assert row.n_voxels_before == row.n_voxels_after == rows_of(output)["ct"].lesion_voxels


def test_package_that_a_reader_changed_ends_no_review(output: Path) -> None:
    """A mask that was moved is made again; one that was damaged in its place is left out of the viewer."""
    review(output.as_uri(), n_scans=10)
    mask = package_of(output, "volume") / "mask.nii.gz"
    whole = mask.read_bytes()
    mask.unlink()
    review(output.as_uri(), n_scans=10)
    assert mask.read_bytes() == whole
    mask.write_bytes(whole[: len(whole) // 2])
    review(output.as_uri(), n_scans=10)
    page = (output / "review" / "viewer.html").read_text(encoding="utf-8")
    assert ">ct<" in page
    assert ">volume<" not in page


def test_withdrawn_verdicts_are_not_counted(output: Path) -> None:
    """Without any verdict left, the most urgent scans are packaged again."""
    row = rows_of(output)["ct"]
    write_verdicts(output, (row, "accept"))
    assert review(output.as_uri(), n_scans=1).n_verdicts == 1
    write_verdicts(output, (row, ""))
    handle = review(output.as_uri(), n_scans=1)
    assert (handle.n_verdicts, handle.n_packages, handle.n_new_refusals) == (0, 1, 0)
    assert "1 verdict withdrawn" in handle.sentence()


def test_scans_to_correct_are_those_with_that_verdict(output: Path) -> None:
    """Without verdicts the most urgent are packaged, with verdicts those to correct, and none that is corrected."""
    assert review(output.as_uri(), n_scans=1).n_packages == 1
    for path in (output / "review" / "packages").iterdir():
        assert path.name in rows_of(output)
    rows = rows_of(output)
    write_verdicts(output, (rows["ct"], "correct"), (rows["volume"], "accept"), (rows["phantom_070_1"], "reject"))
    review(output.as_uri(), n_scans=1)
    assert package_of(output, "ct").exists()
    assert not package_of(output, "volume").exists() or not package_of(output, "phantom_070_1").exists()
    correct_with_itk(output, "ct")
    review(output.as_uri(), n_scans=1)
    written = (package_of(output, "ct") / "README.txt").stat().st_mtime_ns
    review(output.as_uri(), n_scans=1)
    assert (package_of(output, "ct") / "README.txt").stat().st_mtime_ns == written
    agreement = (output / "review" / "agreement.csv").read_text().splitlines()
    cells = dict(zip(agreement[0].split(","), agreement[-1].split(","), strict=True))
    assert [cells[name] for name in ("week", "n_accepted", "n_corrected", "n_rejected", "n_corrections")] == [
        *("all", "1", "1", "1", "1")
    ]
    assert float(cells["dice_mean"]) == pytest.approx(corrections_of(output)["ct"].dice_with_prediction, abs=1e-3)


def test_changed_scan_gets_no_package(output: Path) -> None:
    """An image that is no longer the one that was segmented is not handed out with its mask, and neither is a mask."""
    scans = output.parent / "scans"
    (scans / "volume.nii.gz").write_bytes(to_nifti(TRUTH.voxels(VOLUME) + 1, VOLUME))
    (output / "masks" / "ct.nii.gz").write_bytes(b"another")
    (scans / "phantom_070_1.png").unlink()
    handle = review(output.as_uri(), n_scans=10)
    assert (handle.n_packages, handle.n_new_refusals) == (1, 3)
    found = {row.scan_id: row.error_code for row in reviews.read_tables(output.as_uri()).packages}
    assert found == {
        "ct": "changed",
        "volume": "changed",
        "phantom_070_1": "vanished",
        "phantom_070_2": None,
    }


def test_scans_of_archives_stacks_and_headers_are_packaged(tmp_path: Path) -> None:
    """A series in an archive, a stack of slices and a header with its voxels beside it are opened as when segmented."""
    scans = tmp_path / "scans"
    write_phantoms(tmp_path / "made", n_patients=1, n_slices=5, size_px=96, first_patient=70)
    (tmp_path / "made" / "frames").rename(scans)
    with zipfile.ZipFile(scans / "night.zip", "w") as archive:
        for number, dataset in enumerate(to_dicom(TRUTH.voxels(CT), CT)):
            archive.writestr(f"in/{number}.dcm", to_bytes(dataset))
    image = SimpleITK.GetImageFromArray(TRUTH.voxels(CT))
    image.SetSpacing(CT.spacing_mm[::-1])
    SimpleITK.WriteImage(image, str(scans / "header.mhd"))
    output = tmp_path / "output"
    rows = publish_segmentation(scans, output, stack_pattern=r"(?P<scan>phantom_\d+)_(?P<slice>\d+)")
    assert list(rows) == ["header", "night__in", "phantom_070"]
    assert review(output.as_uri(), n_scans=10).n_packages == 3
    grown = {scan_id: correct_with_itk(output, scan_id) for scan_id in rows}
    assert review(output.as_uri(), n_scans=0).n_corrections == 3
    found = corrections_of(output)
    assert {scan_id: row.n_voxels_after for scan_id, row in found.items()} == {
        scan_id: np.count_nonzero(mask) for scan_id, mask in grown.items()
    }
    slices = sorted((output / "review" / "accepted" / "phantom_070").iterdir())
    assert [path.name for path in slices[:5]] == [f"image_{number:04d}.png" for number in range(5)]
    for number, path in enumerate(slices[:5]):
        source = read_image(path.name, (scans / f"phantom_070_{number}.png").read_bytes())
        np.testing.assert_array_equal(read_image(path.name, path.read_bytes()), source)
    assert [uri.rpartition("/")[2] for uri in found["phantom_070"].source_uris] == [
        f"phantom_070_{number}.png" for number in range(5)
    ]


def test_output_without_segmentation_is_refused(tmp_path: Path) -> None:
    """There is nothing to review where no segmentation was finished."""
    with pytest.raises(ConfigError, match="no finished segmentation"):
        review(tmp_path.as_uri(), n_scans=1)


def test_hashed_ids_stay_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key, scans are found and corrections taken in; no name stands in any file of the review."""
    monkeypatch.setenv(KEY_VARIABLE, "k" * 32)
    output, seal = tmp_path / "output", Seal.from_environment()
    rows = publish_segmentation(write_scans(tmp_path), output, seal=seal)
    assert review(output.as_uri(), n_scans=10).n_packages == len(rows) == 4
    for scan_id in rows:
        correct_with_itk(output, scan_id)
    put_back(output, "john_doe.nii.gz", b"")
    assert review(output.as_uri(), n_scans=0).n_corrections == 4
    rows_after = reviews.read_corrections(output.as_uri())
    opened = {seal.open_text(uri).rpartition("/")[2] for row in rows_after for uri in row.source_uris}
    assert opened == {"ct", "volume.nii.gz", "phantom_070_1.png", "phantom_070_2.png"}
    (output / "review" / "corrections" / "john_doe.nii.gz").unlink()
    for path in (output / "review").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [name for name in NAMES if name in (gunzip(content) if path.suffix == ".gz" else content)], path
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(ConfigError, match=KEY_VARIABLE):
        review(output.as_uri(), n_scans=0)


def test_slices_of_a_stack_with_hashed_ids_are_named_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses of its slices are encrypted in the table of corrections, too."""
    monkeypatch.setenv(KEY_VARIABLE, "k" * 32)
    output, seal = tmp_path / "output", Seal.from_environment()
    write_phantoms(tmp_path / "made", n_patients=1, n_slices=3, size_px=96, first_patient=70)
    pattern = r"(?P<scan>phantom_\d+)_(?P<slice>\d+)"
    [scan_id] = publish_segmentation(tmp_path / "made" / "frames", output, seal=seal, stack_pattern=pattern)
    review(output.as_uri(), n_scans=1)
    correct_with_itk(output, scan_id)
    assert review(output.as_uri(), n_scans=0).n_corrections == 1
    uris = corrections_of(output)[scan_id].source_uris
    assert not [uri for uri in uris if "phantom" in uri]
    assert [seal.open_text(uri)[-5:] for uri in uris] == [f"{number}.png" for number in range(3)]
