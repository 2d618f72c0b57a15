"""What the steps' tests share: the phantoms as labelled volumes."""

from pathlib import Path

import numpy as np
import pytest

from tasks.core.config.intensity import HuConfig
from tasks.core.errors import IncompleteError
from tasks.core.phantoms import phantom_scan
from tasks.core.volumes import Grid
from tasks.io.formats.nifti import write_nifti_mask
from tests.conftest import PREPARATION
from tests.volumes import to_nifti

N_PATIENTS, N_SLICES, SOURCE_PX = 5, 8, 96
WINDOW = HuConfig(window_level_hu=0, window_width_hu=2000)
BY_VOLUME = PREPARATION.model_copy(update={"patient_id_pattern": r"^(?P<patient>phantom_\d+)$", "hu": WINDOW})
HEAD_FIRST = np.array([[0, 0, -0.8, 40], [0, -0.8, 0, 50], [-5.0, 0, 0, 60], [0, 0, 0, 1]])
"""Slices from head to feet, rows to the back, columns to the left: as scanners write them."""


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def volume_dataset(
    ray_session: None, prefect_server: None, volumes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Their dataset."""
    from flows.prepare_dataset import prepare_dataset

    dataset = tmp_path_factory.mktemp("prepared") / "dataset"
    with pytest.raises(IncompleteError, match="1 input rejected"):
        prepare_dataset(str(volumes), str(dataset), preparation=BY_VOLUME)
    return dataset
