"""Labelled NIfTI volumes become the same dataset as their slices would, and are scored on their own grid."""

import json
from pathlib import Path

import numpy as np
import pytest

from flows.evaluate_model import evaluate_model
from flows.prepare_dataset import prepare_dataset
from flows.train_model import train_model
from tasks.core.config.intensity import HuConfig
from tasks.core.errors import IncompleteError
from tasks.core.phantoms import phantom_scan
from tasks.core.volumes import Grid
from tasks.io.formats.nifti import write_nifti_mask
from tasks.io.outputs import bundles, datasets
from tests.conftest import MILD, MODEL, PREPARATION, TRAINING, Trained
from tests.volumes import to_nifti

pytestmark = [pytest.mark.ray, pytest.mark.tf, pytest.mark.usefixtures("ray_session", "prefect_server")]

N_PATIENTS, N_SLICES, SOURCE_PX = 5, 8, 96
WINDOW = HuConfig(window_level_hu=0, window_width_hu=2000)
BY_VOLUME = PREPARATION.model_copy(update={"patient_id_pattern": r"^(?P<patient>phantom_\d+)$", "hu": WINDOW})
HEAD_FIRST = np.array([[0, 0, -0.8, 40], [0, -0.8, 0, 50], [-5.0, 0, 0, 60], [0, 0, 0, 1]])
"""Slices from head to feet, rows to the back, columns to the left: as scanners write them."""


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms of the other tests as NIfTI, in Hounsfield units, from head to feet; one mask lies elsewhere."""
    root = tmp_path_factory.mktemp("labelled-volumes")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    for patient in range(N_PATIENTS + 1):
        scan = phantom_scan(patient, n_slices=N_SLICES, size_px=SOURCE_PX)
        grid = Grid((N_SLICES, SOURCE_PX, SOURCE_PX), HEAD_FIRST)
        hu = np.rint(scan.image[::-1] * (2000 / 255) - 1000).astype(np.int16)
        place = grid if patient < N_PATIENTS else Grid(grid.shape, grid.affine + np.diag([0, 0, 1, 0])[:, [0, 1, 3, 2]])
        (root / "images" / f"phantom_{patient:03d}.nii.gz").write_bytes(to_nifti(hu, grid))
        (root / "masks" / f"phantom_{patient:03d}.nii.gz").write_bytes(write_nifti_mask(scan.mask[::-1].copy(), place))
    return root


@pytest.fixture(scope="module")
def prepared(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their dataset."""
    dataset = tmp_path_factory.mktemp("prepared") / "dataset"
    with pytest.raises(IncompleteError, match="1 slice rejected"):
        prepare_dataset(str(volumes), str(dataset), preparation=BY_VOLUME)
    return dataset


def _slices(dataset: str) -> dict[tuple[str, str, int], datasets.SliceRow]:
    return {
        (split, row["patient_id"], row["slice_index"]): row
        for split in ("train", "val", "test")
        for uri in datasets.list_shards(dataset, split)
        for row in datasets.read_shard(uri)
    }


def test_volumes_become_the_slices_they_are_made_of(prepared: Path, trained: Trained) -> None:
    """Same patients on the same sides, same masks, and pixels that differ by rounding alone."""
    ours, theirs = _slices(str(prepared)), _slices(trained.dataset_uri)
    assert len(ours) == N_PATIENTS * N_SLICES
    assert ours.keys() == theirs.keys()
    for key, row in ours.items():
        np.testing.assert_array_equal(row["mask"], theirs[key]["mask"])
        np.testing.assert_allclose(row["image"].astype(int), theirs[key]["image"], atol=1)


def test_a_mask_that_lies_elsewhere_is_set_aside(prepared: Path) -> None:
    """A mask on another grid than its image is named, not moved."""
    [failure] = datasets.read_failures(str(prepared))
    assert failure.error_code == "mixed_geometry"
    assert "1.0 mm apart" in failure.error


def test_volumes_are_scored_on_their_own_grid(prepared: Path, trained: Trained, report: Path, tmp_path: Path) -> None:
    """Counts are over the source's pixels, 96 x 96 a slice, and come out as for the slices."""
    evaluate_model(trained.model_uri, str(prepared), str(tmp_path))
    ours, theirs = (json.loads((folder / "metrics.json").read_text())["pooled"] for folder in (tmp_path, report))
    n_pixels = ours["tp"] + ours["fp"] + ours["fn"] + ours["tn"]
    assert n_pixels == theirs["tp"] + theirs["fp"] + theirs["fn"] + theirs["tn"]
    assert n_pixels % (SOURCE_PX * SOURCE_PX) == 0
    assert ours["dice"] == pytest.approx(theirs["dice"], abs=0.02)


def test_volumes_train_a_bundle_as_slices_do(prepared: Path, tmp_path: Path) -> None:
    """From their dataset comes a bundle that scores on its test patients, and says how CT values become its input."""
    training = TRAINING.model_copy(update={"epochs": 1})
    train_model(str(prepared), str(tmp_path / "model"), model=MODEL, training=training, augment=MILD)
    assert bundles.read_card(str(tmp_path / "model")).hu == WINDOW
    evaluate_model(str(tmp_path / "model"), str(prepared), str(tmp_path / "report"))
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["n_failed"] == 0
