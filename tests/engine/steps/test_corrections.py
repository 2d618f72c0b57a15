"""The correction loop: a segmented scan, corrected by a reader, changes the next dataset on its patient's side."""

import shutil
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK

from flows.prepare_dataset import prepare_dataset
from tasks.core.catalog import SPLITS
from tasks.core.config.preparation import PreparationConfig
from tasks.core.errors import ConfigError, IncompleteError
from tasks.core.schemas import DatasetCard
from tasks.engine.steps.review import review
from tasks.io.outputs import datasets
from tasks.io.outputs.datasets import SliceRow
from tasks.io.pseudonyms import KEY_VARIABLE, Seal
from tests.conftest import PREPARATION
from tests.phantoms import write_phantoms
from tests.stages.reviewed import correct_with_itk, publish_segmentation, put_back
from tests.volumes import Truth, grid_around, put_series, to_dicom

pytestmark = [pytest.mark.ray, pytest.mark.server, pytest.mark.usefixtures("ray_session", "prefect_server")]

TRUTH = Truth()
CT = grid_around(TRUTH, (12, 40, 44), (4.0, 1.5, 1.6), np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled slices of four patients."""
    folder = tmp_path_factory.mktemp("corrected-source")
    write_phantoms(folder, n_patients=4, n_slices=3, size_px=64)
    return folder


@pytest.fixture(scope="module")
def reviewed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Segmentation of a new patient and of a slice of the source, all corrected."""
    folder = tmp_path_factory.mktemp("reviewed")
    scans = _new_patient(folder / "new")
    shutil.copy(source / "frames" / "phantom_002_1.png", scans)
    _reviewed(scans, folder / "output")
    return folder / "output"


def _with(*outputs: Path, **changes: object) -> PreparationConfig:
    return PREPARATION.model_copy(update={"corrections": tuple(map(str, outputs))} | changes)


def _slices(dataset: Path) -> dict[tuple[str, int], tuple[str, SliceRow]]:
    return {
        (row["case_id"], row["slice_index"]): (split, row)
        for split in SPLITS
        for uri in datasets.list_shards(str(dataset), split)
        for row in datasets.read_shard(uri)
    }


def _card(dataset: Path) -> DatasetCard:
    return datasets.read_card(str(dataset))


def _reviewed(scans: Path, output: Path, *corrected: str, seal: Seal | None = None, **asked: object) -> list[str]:
    """Segment scans, correct some of them, all if none is named, and review; return the ids of the corrected."""
    rows = publish_segmentation(scans, output, seal=seal, **asked)
    review(output.as_uri(), n_scans=100)
    ids = [*(corrected or rows)]
    for scan_id in ids:
        correct_with_itk(output, scan_id)
    assert review(output.as_uri(), n_scans=0).n_corrections == len(ids)
    return ids


def _new_patient(folder: Path, patient: int = 50) -> Path:
    write_phantoms(folder, n_patients=1, n_slices=2, size_px=64, first_patient=patient)
    return folder / "frames"


def test_correction_changes_the_next_dataset_and_moves_nobody(source: Path, reviewed: Path, tmp_path: Path) -> None:
    """Corrected slices of a known patient replace their labels there, those of a new one join; the card names both."""
    dataset, output = tmp_path / "dataset", reviewed
    prepare_dataset(str(source), str(dataset), preparation=PREPARATION)
    before, sides = _slices(dataset), _card(dataset).assignments
    handle = prepare_dataset(str(source), str(dataset), preparation=_with(output))
    after, card = _slices(dataset), _card(dataset)
    assert handle.n_slices == len(after) == len(before) + 2
    assert {key for key in before if not np.array_equal(before[key][1]["mask"], after[key][1]["mask"])} == {
        ("phantom_002", 1)
    }
    split, corrected = after["phantom_002", 1]
    assert split == sides["phantom_002"]
    np.testing.assert_array_equal(corrected["image"], before["phantom_002", 1][1]["image"])
    label = SimpleITK.ReadImage(str(output / "review" / "corrections" / "phantom_002_1.nii.gz"))
    np.testing.assert_array_equal(corrected["mask"], SimpleITK.GetArrayFromImage(label)[0])
    assert {**sides, "phantom_050": card.assignments["phantom_050"]} == card.assignments
    [named] = card.corrections
    assert (named.uri, named.n_scans) == (output.as_uri(), 3)


def test_same_corrections_twice_change_nothing(source: Path, reviewed: Path, tmp_path: Path) -> None:
    """Neither a second review nor a second preparation changes a shard; two URIs of one output double no case."""
    dataset, output = tmp_path / "dataset", tmp_path / "output"
    shutil.copytree(reviewed, output)
    prepare_dataset(str(source), str(dataset), preparation=_with(output))
    first, written = _card(dataset), (dataset / "dataset.json").stat().st_mtime_ns
    review(output.as_uri(), n_scans=0)
    prepare_dataset(str(source), str(dataset), preparation=_with(output))
    assert _card(dataset).fingerprint == first.fingerprint
    assert (dataset / "dataset.json").stat().st_mtime_ns == written
    shutil.copytree(output, tmp_path / "copy")
    prepare_dataset(str(source), str(tmp_path / "twice"), preparation=_with(output, tmp_path / "copy"))
    assert _card(tmp_path / "twice").n_slices == first.n_slices
    correct_with_itk(output, "phantom_050_0", suffix=".nrrd")
    (output / "review" / "corrections" / "phantom_050_0.nii.gz").unlink()
    put_back(output, "phantom_050_0.nrrd", (output / "review" / "corrections" / "phantom_050_0.nrrd").read_bytes())
    review(output.as_uri(), n_scans=0)
    prepare_dataset(str(source), str(dataset), preparation=_with(output))
    assert _card(dataset).fingerprint == first.fingerprint


def test_label_of_the_very_same_image_keeps_its_lung_mask(source: Path, tmp_path: Path) -> None:
    """Where the source's own images were segmented, lung and patient stay; the image is that of the correction."""
    output = tmp_path / "output"
    _reviewed(source / "frames", output, "phantom_001_2")
    prepare_dataset(str(source), str(tmp_path / "dataset"), preparation=_with(output))
    _, row = _slices(tmp_path / "dataset")["phantom_001", 2]
    assert row["image_uri"].endswith("output/review/accepted/phantom_001_2/image_0000.png")
    assert row["mask_uri"].endswith("output/review/accepted/phantom_001_2/mask_0000.png")
    assert row["lung"] is not None
    assert _card(tmp_path / "dataset").n_slices == 12


def test_series_corrected_as_dicom_seg_becomes_a_labelled_volume(source: Path, tmp_path: Path) -> None:
    """A DICOM-SEG that highdicom makes of the series becomes a case from feet to head, named as its folder."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    slices = to_dicom(TRUTH.voxels(CT), CT)
    put_series((scans / "patient_9").as_uri(), slices)
    publish_segmentation(scans, output)
    review(output.as_uri(), n_scans=1)
    mask = TRUTH.mask(CT)
    mask[2, 3:6, 3:6] = 1
    package = hd.seg.segread(output / "review" / "packages" / "patient_9" / "segmentation.dcm")
    for dataset in slices:
        dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
        dataset.AccessionNumber = dataset.StudyID = dataset.ReferringPhysicianName = ""
        dataset.SliceThickness = 4.0
    corrected = hd.seg.Segmentation(
        source_images=slices,
        pixel_array=mask,
        segmentation_type="BINARY",
        segment_descriptions=[package.get_segment_description(1)],
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="reader",
        manufacturer_model_name="reader",
        software_versions="1",
        device_serial_number="1",
    )
    (output / "review" / "corrections").mkdir()
    corrected.save_as(output / "review" / "corrections" / "patient_9.dcm")
    assert review(output.as_uri(), n_scans=0).n_corrections == 1
    pattern = r"^(?P<patient>phantom_\d+|patient_\d+)(_(?P<slice>\d+))?$"
    prepare_dataset(
        str(source), str(tmp_path / "dataset"), preparation=_with(output, patient_id_pattern=pattern, size_px=64)
    )
    rows = {key: row for key, (_, row) in _slices(tmp_path / "dataset").items() if key[0] == "patient_9"}
    assert sorted(rows) == [("patient_9", number) for number in range(12)]
    assert rows["patient_9", 2]["mask"].any()
    assert not rows["patient_9", 0]["mask"].any()
    assert rows["patient_9", 2]["spacing_mm"] == pytest.approx([4.0, 1.5, 1.6])


def test_patients_with_hashed_ids_stay_on_their_side(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patient of the source is known by name; a new one has a hashed id, whose split stays when the name is known."""
    monkeypatch.setenv(KEY_VARIABLE, "k" * 32)
    seal, dataset, output = Seal.from_environment(), tmp_path / "dataset", tmp_path / "output"
    shutil.copytree(source, tmp_path / "source")
    source = tmp_path / "source"
    scans = _new_patient(tmp_path / "new")
    shutil.copy(source / "frames" / "phantom_002_1.png", scans)
    _reviewed(scans, output, seal=seal)
    prepare_dataset(str(source), str(dataset), preparation=_with(output))
    card = _card(dataset)
    hashed = seal.id_of("phantom_050")
    assert card.assignments.keys() == {*(f"phantom_00{number}" for number in range(4)), hashed}
    assert card.n_slices == 12 + 2
    found = b"".join(path.read_bytes() for path in dataset.rglob("*.parquet")) + (dataset / "dataset.json").read_bytes()
    assert b"phantom_050" not in found
    write_phantoms(source, n_patients=1, n_slices=2, size_px=64, first_patient=50)
    prepare_dataset(str(source), str(dataset), preparation=_with(output))
    later = _card(dataset)
    assert later.assignments["phantom_050"] == card.assignments[hashed]
    assert later.n_slices == 12 + 2
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(ConfigError, match=KEY_VARIABLE):
        prepare_dataset(str(source), str(dataset), preparation=_with(output))


def test_correction_that_fits_nowhere_is_a_rejected_slice(source: Path, tmp_path: Path) -> None:
    """Of two scans that claim one slice neither is taken, with a sentence; the rest is published."""
    scans, output = tmp_path / "scans", tmp_path / "output"
    for folder in ("a", "b"):
        shutil.copytree(_new_patient(tmp_path / folder), scans / folder)
    _reviewed(scans, output, "a__phantom_050_0", "b__phantom_050_0", "b__phantom_050_1")
    with pytest.raises(IncompleteError, match="2 inputs rejected"):
        prepare_dataset(str(source), str(tmp_path / "dataset"), preparation=_with(output))
    assert _card(tmp_path / "dataset").n_slices == 12 + 1
    failures = datasets.read_failures(str(tmp_path / "dataset"))
    assert {failure.error_code for failure in failures} == {"duplicate_slice"}


def test_output_without_segmentation_is_refused(source: Path, tmp_path: Path) -> None:
    """A wrong address of corrections is a bad parameter; a segmentation without any adds nothing."""
    with pytest.raises(ConfigError, match="no finished segmentation"):
        prepare_dataset(str(source), str(tmp_path / "dataset"), preparation=_with(tmp_path / "nowhere"))
    publish_segmentation(_new_patient(tmp_path / "new"), tmp_path / "output")
    prepare_dataset(str(source), str(tmp_path / "dataset"), preparation=_with(tmp_path / "output"))
    assert [one.n_scans for one in _card(tmp_path / "dataset").corrections] == [0]
