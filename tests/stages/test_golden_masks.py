"""Masks stay what they are until somebody raises the mask version: finished scans are known by it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tasks.core.mask_version import MASK_VERSION
from tasks.io.formats.raster import write_png
from tasks.stages.chunk import Predicted
from tasks.stages.finish_scans import finish_scans
from tasks.stages.load_scans import load_scans
from tasks.stages.segmentation_run import Run
from tests.stages.bright import bright_run, scans_of
from tests.volumes import Truth, grid_around, put_series, to_dicom, to_nifti

GOLDEN = Path(__file__).with_name("golden_masks.json")
TRUTH = Truth()
UPRIGHT, OBLIQUE = np.eye(3)[:, [2, 1, 0]] * [1, -1, -1], np.eye(3) * [-1, 1, 1]


def _smooth_slice(n: int) -> np.ndarray:
    """Return waves of many grey values, of sides that no model has, uint8 `(97, 83)`."""
    rows, columns = np.mgrid[:97, :83]
    return np.rint(127.5 + 120 * np.sin(rows / (7 + n)) * np.cos(columns / 9)).astype(np.uint8)


def _smooth_volume(shape: tuple[int, int, int]) -> np.ndarray:
    """Return waves of many Hounsfield units within a lung window, int16."""
    first, second, third = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return np.rint(-600 + 500 * np.sin(first / 2 + second / 5) * np.cos(third / 4)).astype(np.int16)


def _collection(folder: Path) -> None:
    """Write one scan of every kind."""
    (folder / "stack").mkdir(parents=True)
    (folder / "slice.png").write_bytes(write_png(_smooth_slice(0)))
    for number in range(3):
        (folder / "stack" / f"{number}.png").write_bytes(write_png(_smooth_slice(number)))
    for name, directions in (("upright", UPRIGHT), ("oblique", OBLIQUE)):
        grid = grid_around(TRUTH, (9, 31, 27), (3.0, 1.7, 2.1), directions)
        (folder / f"{name}.nii.gz").write_bytes(to_nifti(_smooth_volume(grid.shape), grid))
    grid = grid_around(TRUTH, (9, 31, 27), (3.0, 1.7, 2.1), UPRIGHT)
    put_series(str(folder / "series"), to_dicom(_smooth_volume(grid.shape), grid))


def _masks(folder: Path) -> dict[str, str]:
    """Return the digest of each mask's values, by scan, of the rules of earlier bundles and of today's."""
    pattern = r"(?P<scan>stack)/(?P<slice>\d+)"
    run = bright_run(str(folder / "scans"), str(folder / "output"), stack_pattern=pattern, min_lesion_mm3=20)
    standard = replace(run.model_input, intensity_rule="landmarks")
    today = _digests(replace(run, model_input=standard, z_smoothing=True))
    return _digests(run) | {f"{scan_id}, landmarks and smoothing": digest for scan_id, digest in today.items()}


def _digests(run: Run) -> dict[str, str]:
    """Return the digest of each mask's values, by scan: the model is the image itself, so that edges are soft."""
    digests = {}
    for scan in scans_of(run):
        loaded = load_scans([scan], run.model_input)
        [row], _ = finish_scans([Predicted(loaded.images, loaded.rest, loaded.images)], run=run)
        assert row.mask_uri is not None, row.error
        path = row.mask_uri.removeprefix("file://")
        mask = np.asarray(Image.open(path) if path.endswith(".png") else nib.load(path).dataobj)
        assert 0 < np.count_nonzero(mask) < mask.size
        digests[row.scan_id] = hashlib.sha256(f"{mask.shape}".encode() + mask.astype(np.uint8).tobytes()).hexdigest()
    return digests


def test_masks_change_with_the_mask_version_only(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The same scans give the very masks they gave when the mask version was last raised."""
    _collection(tmp_path / "scans")
    found = {"mask_version": MASK_VERSION, "masks": _masks(tmp_path)}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {"mask_version": "", "masks": {}}
    if request.config.getoption("--update-golden") and golden["mask_version"] != MASK_VERSION:
        GOLDEN.write_text(json.dumps(found, indent=2) + "\n")
        golden = found
    assert found == golden, (
        "Masks changed: raise MASK_VERSION, then `pytest --update-golden tests/stages/test_golden_masks.py`"
    )


@pytest.mark.parametrize(
    "changed",
    [
        "tasks.stages.finish_scans.threshold_probability",
        "tasks.stages.finish_scans.smooth_along_z",
        "tasks.stages.load_scans.hu_to_uint8",
    ],
)
def test_another_rule_turns_the_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    """A threshold or a window that is off by a hair gives other masks than the golden ones."""
    from tasks.stages import finish_scans as finishing
    from tasks.stages import load_scans as loading

    original = getattr(finishing if "finish" in changed else loading, changed.rpartition(".")[2])
    off = {
        "threshold_probability": lambda probability, threshold: original(probability, threshold + 0.02),
        "smooth_along_z": lambda *given: np.minimum(original(*given).astype(int) + 2, 255).astype(np.uint8),
        "hu_to_uint8": lambda image, hu: np.minimum(original(image, hu).astype(int) + 2, 255).astype(np.uint8),
    }
    monkeypatch.setattr(changed, off[changed.rpartition(".")[2]])
    _collection(tmp_path / "scans")
    assert _masks(tmp_path) != json.loads(GOLDEN.read_text())["masks"]
