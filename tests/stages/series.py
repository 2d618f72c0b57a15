"""A CT series with a known lesion, in any folders, taken through the real stages."""

from collections.abc import Callable, Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    GrayscaleSoftcopyPresentationStateStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    XRayRadiationDoseSRStorage,
)

from tasks.core.rows import ScanRow
from tasks.io import storage
from tasks.stages.segmentation_run import Run
from tests.stages.bright import scans_of, segment
from tests.volumes import Truth, grid_around, put_series, to_dicom

TRUTH = Truth()
GRID = grid_around(TRUTH, (20, 40, 44), (3.0, 1.0, 1.0), np.eye(3)[:, [2, 1, 0]] * [1, -1, -1])
VOXELS = TRUTH.voxels(GRID)
ML = int(TRUTH.mask(GRID).sum()) * GRID.voxel_mm3 / 1000


def ct_slices(**changes: object) -> list[Dataset]:
    """Return the scan as a CT series."""
    return to_dicom(VOXELS, GRID, **changes)


def scout(dataset: Dataset) -> None:
    """Make an overview image of a slice."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def dose_screen(dataset: Dataset) -> None:
    """Make a screenshot of a slice, which scanners call CT."""
    dataset.SOPClassUID = SecondaryCaptureImageStorage


def _projection(dataset: Dataset) -> None:
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL", "MIP"]


def _of_class(modality: str, uid: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.Modality, dataset.SOPClassUID = modality, uid

    return change


def ordinary_study() -> dict[str, Sequence[Dataset]]:
    """Return the CT series of a study, in its folder, and what else a PACS sends with it, in others."""
    others = {
        "scout": scout,
        "dose_screen": dose_screen,
        "projection": _projection,
        "dose_report": _of_class("SR", XRayRadiationDoseSRStorage),
        "presentation_state": _of_class("PR", GrayscaleSoftcopyPresentationStateStorage),
        "segmentation": _of_class("SEG", SegmentationStorage),
        "structures": _of_class("RTSTRUCT", RTStructureSetStorage),
    }
    folders: dict[str, Sequence[Dataset]] = {"CT": ct_slices()}
    for number, (folder, change) in enumerate(others.items()):
        folders[folder] = ct_slices(series=number + 2)[:2]
        for dataset in folders[folder]:
            change(dataset)
    return folders


def rows_of(run: Run, folders: dict[str, Sequence[Dataset]]) -> list[ScanRow]:
    """Return the rows of series in folders, by their ids."""
    for folder, slices in folders.items():
        put_series(storage.join(run.request.scans_uri, folder), slices)
    return sorted(segment(run, scans_of(run)), key=lambda row: row.scan_id)
