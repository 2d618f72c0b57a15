"""Labelled NIfTI volumes become the same dataset as their slices would, and are scored on their own grid."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from flows.prepare_dataset import prepare_dataset
from tasks.core.errors import IncompleteError
from tasks.core.step_inputs import EvaluateRequest
from tasks.engine.steps.evaluate import evaluate
from tasks.io.outputs import datasets
from tests.engine.bright_model import load_bright
from tests.engine.steps.conftest import BY_VOLUME, N_PATIENTS, N_SLICES, SOURCE_PX

pytestmark = [pytest.mark.ray, pytest.mark.server]


def _slices(dataset: str) -> dict[tuple[str, str, int], datasets.SliceRow]:
    return {
        (split, row["patient_id"], row["slice_index"]): row
        for split in ("train", "val", "test")
        for uri in datasets.list_shards(dataset, split)
        for row in datasets.read_shard(uri)
    }


def test_volumes_become_the_slices_they_are_made_of(volume_dataset: Path, dataset_uri: str) -> None:
    """Same patients on the same sides, same masks, and pixels that differ by rounding alone."""
    ours, theirs = _slices(str(volume_dataset)), _slices(dataset_uri)
    assert len(ours) == N_PATIENTS * N_SLICES
    assert ours.keys() == theirs.keys()
    for key, row in ours.items():
        np.testing.assert_array_equal(row["mask"], theirs[key]["mask"])
        np.testing.assert_allclose(row["image"].astype(int), theirs[key]["image"], atol=1)


def test_a_volume_under_two_patients_is_found(
    ray_session: None, prefect_server: None, volumes: Path, tmp_path: Path
) -> None:
    """Every slice of it is a pair, though a volume is listed as one."""
    shutil.copytree(volumes, tmp_path / "source")
    for kind in ("images", "masks"):
        shutil.copy(volumes / kind / "phantom_001.nii.gz", tmp_path / "source" / kind / "phantom_101.nii.gz")
    with pytest.raises(IncompleteError):  # of the mask that lies elsewhere
        prepare_dataset(str(tmp_path / "source"), str(tmp_path / "dataset"), preparation=BY_VOLUME)
    card = datasets.read_card(str(tmp_path / "dataset"))
    assert card.leakage is not None
    assert card.leakage.n_near_duplicates == N_SLICES


def test_a_mask_that_lies_elsewhere_is_set_aside(volume_dataset: Path) -> None:
    """A mask on another grid than its image is named, not moved."""
    [failure] = datasets.read_failures(str(volume_dataset))
    assert failure.error_code == "mixed_geometry"
    assert "1.0 mm apart" in failure.error


def test_volumes_are_scored_on_their_own_grid(
    bright_bundle: str, volume_dataset: Path, dataset_uri: str, tmp_path: Path
) -> None:
    """Counts are over the source's pixels, 96 x 96 a slice, and come out as for the slices."""
    found = []
    for dataset in (str(volume_dataset), dataset_uri):
        report = tmp_path / f"report-{len(found)}"
        request = EvaluateRequest(
            model_uri=bright_bundle, dataset_uri=dataset, report_uri=report.as_uri(), split="test"
        )
        evaluate(request, load_model=load_bright)
        found.append(json.loads((report / "metrics.json").read_text())["pooled"])
    ours, theirs = found
    n_pixels = ours["tp"] + ours["fp"] + ours["fn"] + ours["tn"]
    assert n_pixels == theirs["tp"] + theirs["fp"] + theirs["fn"] + theirs["tn"]
    assert n_pixels == 2 * N_SLICES * SOURCE_PX * SOURCE_PX
    assert ours["dice"] == pytest.approx(theirs["dice"], abs=0.02)
