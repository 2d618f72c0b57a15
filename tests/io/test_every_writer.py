"""What every entry of `WRITERS` must hold; a new one is tested by being there, if a format of its suffix is read."""

from itertools import combinations
from typing import get_args

import numpy as np
import pytest

from tasks.core.config.segmentation import SegmentationConfig
from tasks.core.volumes import Grid, Layout, Volume
from tasks.io.formats import axis_order_of, layout_of, read_labels, read_volume
from tasks.io.formats.dicom_seg import DICOM_SEG, read_segmentation
from tasks.io.formats.format import DicomHeads, MaskWriter, ScanMask
from tasks.io.formats.writers import WRITERS, writers_asked, writers_of
from tests.volumes import Truth, enhanced, frame_order, grid_around, to_bytes, to_dicom

TRUTH = Truth()
GRID = grid_around(TRUTH, (5, 11, 13), (5.0, 2.5, 2.0), np.eye(3)[:, [2, 1, 0]] * [1, -1, 1])
"""Sides and spacings all different; columns to the right, so that reading turns them."""

KINDS = {"raster": "slice", "stack": "stack", "nifti": "volume", "metaimage": "volume", "dicom": "series"}
"""Scans, by format, of every layout and axis order."""


def _scan_mask(kind: str, *, is_multi_frame: bool = False) -> ScanMask:
    """Return the mask of a scan of a kind as a run hands it to writers."""
    slices = to_dicom(TRUTH.voxels(GRID), GRID)
    heads = DicomHeads([to_bytes(dataset) for dataset in slices])
    if is_multi_frame:
        heads = DicomHeads([to_bytes(enhanced(slices))], np.argsort(frame_order(len(slices))).tolist())
    order = axis_order_of(kind)
    grid = GRID.transposed() if order == "ijk" else GRID
    read = grid.to_reading(TRUTH.mask(grid)) if layout_of(kind) in ("volume", "series") else TRUTH.mask(GRID)
    return ScanMask(
        read[2:3] if kind == "raster" else read,
        grid if layout_of(kind) in ("volume", "series") else None,
        order,
        read_heads=lambda: heads,
        model_digest="m" * 64,
        code_version="1",
    )


def _cases() -> list[tuple[str, str]]:
    return [(name, kind) for name, writer in WRITERS.items() for kind, form in KINDS.items() if form in writer.layouts]


def _read_back(writer: MaskWriter, content: bytes) -> np.ndarray | Volume:
    if writer is DICOM_SEG:
        return Volume(read_segmentation(content, GRID), GRID)
    path = f"mask.{writer.suffix}"
    return read_labels(path, content) if writer.layouts == {"slice"} else read_volume(path, content)


@pytest.mark.parametrize(("name", "kind"), _cases())
def test_mask_reads_back_as_written(name: str, kind: str) -> None:
    """The file holds the mask, 0 and 1, where it lies in the patient; of a slice 0 and 255."""
    writer, mask = WRITERS[name], _scan_mask(kind)
    found = _read_back(writer, writer.write(mask))
    if isinstance(found, np.ndarray):
        np.testing.assert_array_equal(found, mask.voxels[0] * 255)
    elif mask.grid is None:
        np.testing.assert_array_equal(found.voxels.T, mask.voxels)
    else:
        assert set(np.unique(found.voxels)) == {0, 1}
        np.testing.assert_array_equal(found.voxels, TRUTH.mask(found.grid))
        np.testing.assert_array_equal(found.grid.to_reading(found.voxels), mask.voxels)
        np.testing.assert_allclose(found.grid.as_read().affine, mask.grid.as_read().affine, atol=1e-4)


def test_segments_of_a_multi_frame_source_lie_on_its_frames() -> None:
    """A series in one file, its frames in any order, has the same segments in space as the same in many files."""
    found = read_segmentation(DICOM_SEG.write(_scan_mask("dicom", is_multi_frame=True)), GRID)
    np.testing.assert_array_equal(found, TRUTH.mask(GRID))


@pytest.mark.parametrize(("name", "kind"), [case for case in _cases() if WRITERS[case[0]].asked_by is None])
def test_same_mask_gives_the_same_bytes(name: str, kind: str) -> None:
    """A row records the digest of the mask's file; other formats may hold the time."""
    assert WRITERS[name].write(_scan_mask(kind)) == WRITERS[name].write(_scan_mask(kind))


@pytest.mark.parametrize(("name", "kind"), _cases())
def test_a_mask_without_lesion_is_written_too(name: str, kind: str) -> None:
    """A healthy scan has a file of zeros, not none."""
    mask = _scan_mask(kind)
    empty = ScanMask(mask.voxels * 0, mask.grid, mask.axis_order, mask.read_heads, "m" * 64, "1")
    found = _read_back(WRITERS[name], WRITERS[name].write(empty))
    assert not (found if isinstance(found, np.ndarray) else found.voxels).any()


@pytest.mark.parametrize("name", WRITERS)
def test_writer_is_always_on_or_asked_for_by_a_parameter(name: str) -> None:
    """The parameter switches it on and is off by default."""
    writer, default = WRITERS[name], SegmentationConfig()
    assert writer.name == name
    assert (writer in writers_asked(default)) == (writer.asked_by is None)
    if writer.asked_by:
        assert writer in writers_asked(SegmentationConfig.model_validate({writer.asked_by: True}))


@pytest.mark.parametrize("layout", get_args(Layout))
def test_every_scan_has_a_mask_and_no_two_files_of_one_name(layout: Layout) -> None:
    """The first writer of a layout is always on; suffixes of one layout differ."""
    everything = SegmentationConfig.model_validate({w.asked_by: True for w in WRITERS.values() if w.asked_by})
    writers = writers_of(everything, layout)
    assert writers[0].asked_by is None
    assert all(one.suffix != other.suffix for one, other in combinations(writers, 2))
    assert writers_of(SegmentationConfig(), layout)[0] == writers[0]


def test_grid_is_turned_for_reading() -> None:
    """The scans above are stored otherwise than they are read: a writer that forgets it is seen."""
    turned = Grid(GRID.shape, GRID.affine).to_reading(TRUTH.mask(GRID))
    assert not np.array_equal(turned, TRUTH.mask(GRID))
