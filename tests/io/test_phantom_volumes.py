from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import DataError
from tasks.core.phantoms import phantom_scan
from tasks.io.formats.nifti import read_nifti
from tasks.io.phantom_volumes import FIRST_PATIENT, N_PLAIN, PLANTED, SPACING_MM, to_nifti, write_phantom_volumes


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's new scans, small."""
    folder = tmp_path_factory.mktemp("volumes")
    write_phantom_volumes(folder.as_uri(), n_slices=8, size_px=32)
    return folder


def test_plain_phantoms_and_every_planted_fault_are_written(volumes: Path) -> None:
    """One file each."""
    planted = {f"planted_{name}.nii.gz" for name in PLANTED}
    plain = {f"phantom_{FIRST_PATIENT + number}.nii.gz" for number in range(N_PLAIN)}
    assert {file.name for file in volumes.iterdir()} == planted | plain


def test_a_phantom_lies_in_space_as_a_chest_does(volumes: Path) -> None:
    """Spacing and Hounsfield units are those of a CT; slices are read as they were made, the back below."""
    volume = read_nifti((volumes / f"phantom_{FIRST_PATIENT}.nii.gz").read_bytes())
    read = volume.grid.as_read()
    scan = phantom_scan(FIRST_PATIENT, n_slices=8, size_px=32)
    np.testing.assert_allclose(read.spacing_mm, SPACING_MM)
    hu = np.array(list(volume.slices()))
    assert hu.shape == scan.image.shape
    assert np.corrcoef(hu.ravel(), scan.image.ravel())[0, 1] > 0.999
    in_lung = (scan.lung > 0) & (scan.mask == 0)
    assert -950 < np.median(hu[in_lung]) < -500


def test_the_torn_file_is_refused_and_the_others_are_read(volumes: Path) -> None:
    """It is what the report shows as rejected."""
    for name in PLANTED:
        content = (volumes / f"planted_{name}.nii.gz").read_bytes()
        if name == "cut_short":
            with pytest.raises(DataError):
                list(read_nifti(content).slices())
        else:
            assert len(list(read_nifti(content).slices())) > 0


def test_the_same_phantom_is_the_same_bytes() -> None:
    """So that a second demo segments nothing again."""
    scan = phantom_scan(1, n_slices=4, size_px=32)
    assert to_nifti(scan.image) == to_nifti(scan.image)
