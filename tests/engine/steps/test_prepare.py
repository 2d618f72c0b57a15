import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.prepare_dataset import prepare_dataset
from tasks.core.catalog import SPLITS
from tasks.core.config.preparation import Fractions, PreparationConfig
from tasks.core.errors import ConfigError, IncompleteError
from tasks.core.near_duplicates import find_near_duplicates, thumbnail
from tasks.core.rows import CaseRow, DuplicateRow
from tasks.core.schemas import LEAKY, DatasetCard
from tasks.io import storage
from tasks.io.outputs import datasets
from tasks.io.tables import from_parquet
from tests.conftest import PREPARATION, SIZE_PX
from tests.phantoms import write_phantoms

pytestmark = [pytest.mark.ray, pytest.mark.server, pytest.mark.usefixtures("ray_session", "prefect_server")]


def _cases(dataset: Path) -> list[CaseRow]:
    return from_parquet(CaseRow, storage.read_bytes(f"{dataset}/cases.parquet"))


def _sides(dataset: Path) -> dict[str, str]:
    return {case.patient_id: case.split for case in _cases(dataset)}


def _slices(dataset: Path) -> list[datasets.SliceRow]:
    return [
        row for split in SPLITS for uri in datasets.list_shards(str(dataset), split) for row in datasets.read_shard(uri)
    ]


def test_dataset_holds_every_slice_of_every_patient_on_one_side(phantoms: Path, tmp_path: Path) -> None:
    """All slices arrive, resized and binary, and no patient stands on two sides."""
    handle = prepare_dataset(str(phantoms), str(tmp_path / "dataset"), preparation=PREPARATION)
    rows = _slices(tmp_path / "dataset")
    assert handle.n_slices == len(rows) == 5 * 8
    assert {row["image"].shape for row in rows} == {(SIZE_PX, SIZE_PX)}
    assert set(np.unique([row["mask"] for row in rows])) == {0, 1}
    assert {(row["source_height"], row["source_width"]) for row in rows} == {(96, 96)}
    cases = _cases(tmp_path / "dataset")
    assert len({case.patient_id for case in cases}) == len(cases) == 5
    assert {case.split for case in cases} == set(SPLITS)
    assert sum(case.n_slices for case in cases) == handle.n_slices


def test_preparing_twice_gives_the_same_bytes(phantoms: Path, tmp_path: Path) -> None:
    """Split and shards depend on the source and the seed alone."""
    for name in ("one", "two"):
        prepare_dataset(str(phantoms), str(tmp_path / name), preparation=PREPARATION)
    shards = {
        name: {o.path: storage.read_bytes(o.uri) for o in storage.list_objects(str(tmp_path / name / "slices"))}
        for name in ("one", "two")
    }
    assert shards["one"] == shards["two"]
    assert _sides(tmp_path / "one") == _sides(tmp_path / "two")


def test_new_patients_move_nobody(tmp_path: Path) -> None:
    """When patients join the source, those already assigned stay where they are."""
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    write_phantoms(source, n_patients=4, n_slices=2, size_px=64)
    prepare_dataset(str(source), str(dataset), preparation=PREPARATION)
    before = _sides(dataset)
    write_phantoms(source, n_patients=4, n_slices=2, size_px=64, first_patient=4)
    prepare_dataset(str(source), str(dataset), preparation=PREPARATION)
    after = _sides(dataset)
    assert len(after) == 8
    assert {patient: after[patient] for patient in before} == before


def test_one_patient_under_two_names_is_found(phantoms: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Mirrored copies under another name: a pair per slice in the table, counted in the card and warned of."""
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    shutil.copytree(phantoms, source)
    copied = sorted(path.name for path in (source / "frames").glob("phantom_000_*"))
    for folder, name in ((folder, name) for folder in ("frames", "masks") for name in copied):
        mirrored = Image.open(source / folder / name).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mirrored.save(source / folder / name.replace("phantom_000", "phantom_900"))
    prepare_dataset(str(source), str(dataset), preparation=PREPARATION)
    rows = from_parquet(DuplicateRow, storage.read_bytes(f"{dataset}/duplicates.parquet"))
    assert {(row.case_id, row.other_case_id) for row in rows} == {("phantom_000", "phantom_900")}
    assert [row.slice_index for row in rows] == [row.other_slice_index for row in rows]
    card = datasets.read_card(str(dataset))
    assert card.leakage is not None
    assert card.leakage.n_near_duplicates == len(rows) == len(copied)
    assert any(
        f"{len(rows)} pairs of slices of different patients are nearly the same" in text for text in card.warnings
    )
    assert "are nearly the same" in caplog.text


def test_patients_apart_have_no_pairs(dataset_uri: str) -> None:
    """The phantoms are compared, each with the others' slices, and nothing is said of them."""
    card = datasets.read_card(dataset_uri)
    assert card.leakage is not None
    assert (card.leakage.n_slices, card.leakage.n_near_duplicates, card.warnings) == (40, 0, ())


def test_a_dataset_tells_what_its_sources_hold(dataset_uri: str) -> None:
    """Every slice that was written counts, with its grid and its lesion."""
    card = datasets.read_card(dataset_uri)
    assert sum(source.n_slices for source in card.sources) == card.n_slices
    assert sum(source.n_patients for source in card.sources) == card.n_patients
    [source] = card.sources
    assert 0 < source.n_lesion_slices <= source.n_slices
    assert source.lesion_fraction is not None
    assert source.side_px is not None
    assert source.side_px.median == 96
    assert source.slice_spacing_mm is None


def test_a_dataset_holds_the_appearance_of_what_is_trained_on(dataset_uri: str) -> None:
    """Of the slices of all patients but those of the test split, by source."""
    card = datasets.read_card(dataset_uri)
    assert card.appearance is not None
    [source] = card.appearance.sources
    n_test = card.n_slices_by_split["test"]
    assert source.n_slices == card.n_slices - n_test > 0
    assert source.n_patients == sum(split != "test" for split in card.assignments.values())


def test_bad_slices_are_rows_and_the_rest_is_published(phantoms: Path, tmp_path: Path) -> None:
    """Each kind of bad slice is rejected with its code, all others are in the dataset, and the flow is not green."""
    source = tmp_path / "source"
    shutil.copytree(phantoms, source)
    frames, masks = source / "frames", source / "masks"
    (frames / "phantom_000_0.png").write_bytes(b"")
    (frames / "phantom_000_1.png").write_bytes((frames / "phantom_000_1.png").read_bytes()[:200])
    (masks / "phantom_001_0.png").unlink()
    (frames / "phantom_001_1.png").unlink()
    (source / "lungs" / "phantom_001_1.png").unlink()
    Image.new("L", (50, 50)).save(masks / "phantom_002_0.png")
    Image.fromarray(np.full((96, 96), 77, np.uint8)).save(masks / "phantom_002_1.png")
    with pytest.raises(IncompleteError, match="6 inputs rejected"):
        prepare_dataset(str(source), str(tmp_path / "dataset"), preparation=PREPARATION)
    failures = datasets.read_failures(str(tmp_path / "dataset"))
    codes = {
        failure.uri.rsplit("/", 2)[1] + "/" + failure.uri.rsplit("/", 1)[1]: failure.error_code for failure in failures
    }
    assert codes == {
        "frames/phantom_000_0.png": "empty_file",
        "frames/phantom_000_1.png": "unreadable",
        "frames/phantom_001_0.png": "unpaired_image",
        "masks/phantom_001_1.png": "unpaired_mask",
        "frames/phantom_002_0.png": "shape_mismatch",
        "frames/phantom_002_1.png": "mask_values",
    }
    assert all("phantom" not in failure.error for failure in failures)
    assert "77" in next(failure.error for failure in failures if failure.error_code == "mask_values")
    assert len(_slices(tmp_path / "dataset")) == 40 - 6


def test_split_by_slice_is_stamped_leaky(phantoms: Path, tmp_path: Path) -> None:
    """The classic random-slice split has the asked fractions, patients on both sides, and says so."""
    preparation = PREPARATION.model_copy(update={"strategy": "slice", "fractions": Fractions(val=0.1, test=0.2)})
    handle = prepare_dataset(str(phantoms), str(tmp_path / "dataset"), preparation=preparation)
    card = datasets.read_card(str(tmp_path / "dataset"))
    assert card.n_slices_by_split == {"train": 28, "val": 4, "test": 8}
    assert LEAKY in card.warnings
    assert LEAKY in handle.warnings
    sides: dict[str, set[str]] = {}
    for case in _cases(tmp_path / "dataset"):
        sides.setdefault(case.patient_id, set()).add(case.split)
    assert max(len(splits) for splits in sides.values()) > 1


def test_unchanged_source_is_not_prepared_again(phantoms: Path, tmp_path: Path) -> None:
    """A second preparation of the same source leaves the finished dataset untouched."""
    dataset = tmp_path / "dataset"
    prepare_dataset(str(phantoms), str(dataset), preparation=PREPARATION)
    before = {path: path.stat().st_mtime_ns for path in (dataset / "slices").rglob("*.parquet")}
    prepare_dataset(str(phantoms), str(dataset), preparation=PREPARATION)
    assert {path: path.stat().st_mtime_ns for path in (dataset / "slices").rglob("*.parquet")} == before


def test_a_corrected_patient_makes_another_dataset(tmp_path: Path) -> None:
    """Where a table of the same files calls two patients one, they are one on the next run, and the name changes."""
    write_phantoms(tmp_path / "source", n_patients=5, n_slices=2, size_px=96)
    index = tmp_path / "source" / "index.csv"
    names = sorted(path.name for path in (tmp_path / "source" / "frames").iterdir())

    def prepared(patient_of: Callable[[str], str]) -> DatasetCard:
        rows = [f"frames/{name},masks/{name},{patient_of(name)},{name}" for name in names]
        index.write_text("\n".join(["image,mask,patient_id,case_id", *rows]))
        prepare_dataset(str(tmp_path / "source"), str(tmp_path / "dataset"), preparation=PREPARATION)
        return datasets.read_card(str(tmp_path / "dataset"))

    apart = prepared(lambda name: name.rpartition("_")[0])
    joined = prepared(lambda name: name.rpartition("_")[0].replace("_004", "_003"))
    assert (apart.n_patients, joined.n_patients) == (5, 4)
    assert apart.fingerprint != joined.fingerprint


def test_several_folders_with_lung_masks_are_one_dataset(phantoms: Path, tmp_path: Path) -> None:
    """Two labelled folders are prepared together; slices have their lung mask or null, and the card counts them."""
    for name, patient in (("north", "00[0-2]"), ("south", "00[34]")):
        for kind in ("frames", "masks"):
            (tmp_path / "source" / name / kind).mkdir(parents=True)
            for path in (phantoms / kind).glob(f"phantom_{patient}_*.png"):
                shutil.copy(path, tmp_path / "source" / name / kind)
    lungs = tmp_path / "source" / "south" / "lungs"
    lungs.mkdir()
    for number in range(3):
        Image.fromarray(np.full((96, 96), 255, np.uint8)).save(lungs / f"phantom_003_{number}.png")
    (tmp_path / "source" / "README.md").write_text("about")
    handle = prepare_dataset(str(tmp_path / "source"), str(tmp_path / "dataset"), preparation=PREPARATION)
    assert (handle.n_slices, handle.n_failed) == (40, 0)
    [warning] = handle.warnings
    assert "1 file beside the folders; in all 1 .md" in warning
    card = datasets.read_card(str(tmp_path / "dataset"))
    assert (card.n_lung_masks, card.warnings, card.n_patients) == (3, (warning,), 5)
    found = {(row["case_id"], row["slice_index"]): row["lung"] for row in _slices(tmp_path / "dataset")}
    assert {key for key, lung in found.items() if lung is not None} == {("phantom_003", number) for number in range(3)}
    assert all(lung.shape == (SIZE_PX, SIZE_PX) and lung.all() for lung in found.values() if lung is not None)


@pytest.mark.data
def test_changed_copies_of_real_slices_are_found_and_no_others(data_folder: Path) -> None:
    """Every 15th public slice, and every tenth of these once more, windowed, mirrored and compressed."""
    paths = sorted((data_folder / "coronacases_256" / "frames").iterdir())[::15]
    images = [np.asarray(Image.open(path).convert("L")) for path in paths]
    patients = [path.name.split("_")[2] for path in paths]
    copied = images[::10]
    changed = []
    for image in copied:
        windowed = np.clip((image.astype(np.float32) - 15) * 255 / 200, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(windowed[:, ::-1]).resize((400, 400)).save(buffer, "JPEG", quality=50)
        changed.append(np.asarray(Image.open(buffer)))
    names = [*patients, *(f"copy {number}" for number in range(len(copied)))]
    found = find_near_duplicates(np.stack([thumbnail(image) for image in [*images, *changed]]), names)
    expected = {(10 * number, len(images) + number) for number in range(len(copied))}
    assert {(pair.first, pair.second) for pair in found} == expected


def test_two_patients_cannot_be_split(tmp_path: Path) -> None:
    """Fewer than three patients is an error that names the way out."""
    write_phantoms(tmp_path / "source", n_patients=2, n_slices=2, size_px=64)
    with pytest.raises(ConfigError, match="at least 3"):
        prepare_dataset(str(tmp_path / "source"), str(tmp_path / "dataset"), preparation=PREPARATION)


@pytest.mark.data
def test_real_slices_of_two_sources_are_identified(data_folder: Path, tmp_path: Path) -> None:
    """The public sets' names give their patients: seven coronacases patients, volumes of one patient kept together."""
    handle = prepare_dataset(
        str(data_folder / "radiopaedia_256"), str(tmp_path / "dataset"), preparation=PreparationConfig(size_px=32)
    )
    assert handle.n_slices == 250
    assert _sides(tmp_path / "dataset").keys() == {f"radiopaedia_{number}" for number in (4, 10, 27, 29, 40)}
    assert len(_cases(tmp_path / "dataset")) == 7
