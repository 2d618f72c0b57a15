"""Lung masks go with their slices and volumes, are checked like masks, and are said to be wrong as what they are."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.core.config.preparation import PreparationConfig
from tasks.core.errors import DataError, ErrorCode
from tasks.core.volumes import Grid
from tasks.io.formats.nifti import write_nifti_mask
from tasks.io.outputs.datasets import SliceRow
from tasks.io.sources import discover_source
from tasks.stages.labelled_pairs import preprocess_pair
from tests.volumes import to_nifti

SIZE_PX = 64
PREPARATION = PreparationConfig(size_px=SIZE_PX)
LUNG = np.zeros((96, 80), np.uint8)
LUNG[20:60, 10:50] = 1
LESION = np.zeros((96, 80), np.uint8)
LESION[30:40, 20:30] = 1

GRID = Grid((3, 96, 80), np.array([[0, 0, -0.8, 40], [0, -0.8, 0, 50], [-5.0, 0, 0, 60], [0, 0, 0, 1]]))
"""Slices from head to feet: read the other way round."""


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def _put_slice(root: Path, lung: np.ndarray | None) -> None:
    _write(root / "frames" / "study_1_7.png", np.full((96, 80), 90, np.uint8))
    _write(root / "masks" / "study_1_7.png", LESION * 255)
    if lung is not None:
        _write(root / "lungs" / "study_1_7.png", lung)


def _put_volume(root: Path, lung: np.ndarray | None, *, grid: Grid = GRID) -> None:
    contents = {
        "images": to_nifti(np.full(GRID.shape, -500, np.int16) + np.arange(80, dtype=np.int16), GRID),
        "masks": write_nifti_mask(np.stack([LESION] * 3), GRID),
    }
    if lung is not None:
        contents["lungs"] = write_nifti_mask(lung, grid)
    for folder, content in contents.items():
        (root / folder).mkdir()
        (root / folder / "study_1_0.nii.gz").write_bytes(content)


def _rows(root: Path, preparation: PreparationConfig = PREPARATION) -> list[SliceRow]:
    [pair] = discover_source(str(root)).pairs
    return list(preprocess_pair(pair, preparation))


def test_the_lung_mask_of_a_slice_is_resized_like_its_mask(tmp_path: Path) -> None:
    """The lung lies where it was drawn, 0 and 1 at the model's size, around the lesion; its address stays known."""
    _put_slice(tmp_path, LUNG * 255)
    [row] = _rows(tmp_path)
    lung = row["lung"]
    assert lung is not None
    assert (lung.shape, lung.dtype, set(np.unique(lung))) == ((SIZE_PX, SIZE_PX), np.dtype(np.uint8), {0, 1})
    assert lung[row["mask"] > 0].all()
    assert lung.mean() == pytest.approx(LUNG.mean(), abs=0.02)
    assert (row["lung_uri"] or "").endswith("lungs/study_1_7.png")


@pytest.mark.parametrize("put", [_put_slice, _put_volume])
def test_without_a_lung_mask_there_is_none(tmp_path: Path, put: Callable[[Path, np.ndarray | None], None]) -> None:
    """Unknown is None, never a mask of zeros, which would say that there is no lung."""
    put(tmp_path, None)
    assert {(row["lung"] is None, row["lung_uri"]) for row in _rows(tmp_path)} == {(True, None)}


def test_the_lung_mask_of_a_volume_goes_slice_by_slice(tmp_path: Path) -> None:
    """Each slice gets its own part, from feet to head whatever the order in the file."""
    _put_volume(tmp_path, np.stack([LUNG, LUNG, np.zeros_like(LUNG)]))
    rows = _rows(tmp_path)
    assert [row["slice_index"] for row in rows] == [0, 1, 2]
    assert [None if row["lung"] is None else bool(row["lung"].any()) for row in rows] == [False, True, True]


@pytest.mark.parametrize(
    ("lung", "code", "words"),
    [
        (np.zeros((50, 40), np.uint8), "shape_mismatch", "Lung mask: Image is 80×96 px, its mask 40×50"),
        (b"", "empty_file", "Lung mask: "),
        (b"no image", "unreadable", "Lung mask: "),
    ],
)
def test_a_bad_lung_mask_rejects_its_slice(
    tmp_path: Path, lung: np.ndarray | bytes, code: ErrorCode, words: str
) -> None:
    """It is checked as a mask is; the sentence says which of the two masks is meant, and no name."""
    _put_slice(tmp_path, LUNG)
    path = tmp_path / "lungs" / "study_1_7.png"
    path.write_bytes(lung) if isinstance(lung, bytes) else _write(path, lung)
    with pytest.raises(DataError) as caught:
        _rows(tmp_path)
    assert caught.value.code == code
    assert caught.value.sentence.startswith(words)
    assert "study" not in caught.value.sentence


def test_left_and_right_lung_are_one(tmp_path: Path) -> None:
    """Lung masks often have a value per lung; any value above 0 is lung, whatever the rule for lesions."""
    sides = LUNG.copy()
    sides[:, 30:] *= 2
    _put_slice(tmp_path, sides)
    [row] = _rows(tmp_path)
    assert row["lung"] is not None
    assert row["lung"].mean() == pytest.approx(LUNG.mean(), abs=0.02)


@pytest.mark.parametrize(
    ("shape", "shift_mm", "code"), [((2, 96, 80), 0, "shape_mismatch"), ((3, 96, 80), 4, "mixed_geometry")]
)
def test_a_lung_mask_on_another_grid_rejects_its_volume(
    tmp_path: Path, shape: tuple[int, int, int], shift_mm: float, code: ErrorCode
) -> None:
    """A lung mask that lies elsewhere, or has another size, is named and not moved."""
    affine = GRID.affine.copy()
    affine[0, 3] += shift_mm
    _put_volume(tmp_path, np.ones(shape, np.uint8), grid=Grid(shape, affine))
    with pytest.raises(DataError, match=r"^Lung mask: ") as caught:
        _rows(tmp_path)
    assert caught.value.code == code


@pytest.mark.parametrize("put", [_put_slice, _put_volume])
def test_a_mask_that_changed_since_it_was_listed_is_refused(
    tmp_path: Path, put: Callable[[Path, np.ndarray | None], None]
) -> None:
    """A review may write a correction anew while its label waits to be prepared: the digest decides, and no lock."""
    put(tmp_path, None)
    [pair] = discover_source(str(tmp_path)).pairs
    mask = next((tmp_path / "masks").iterdir())
    known = pair.model_copy(update={"mask_sha256": hashlib.sha256(mask.read_bytes()).hexdigest()})
    assert list(preprocess_pair(known, PREPARATION))
    if put is _put_slice:
        _write(mask, np.zeros_like(LESION))
    else:
        mask.write_bytes(write_nifti_mask(np.zeros(GRID.shape, np.uint8), GRID))
    with pytest.raises(DataError, match="changed since it was listed") as caught:
        list(preprocess_pair(known, PREPARATION))
    assert caught.value.code == "changed"
