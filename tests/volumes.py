"""CT volumes whose truth is a formula in world coordinates, written on any grid as DICOM or NIfTI."""

import copy
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from tasks.core.volumes import LPS_TO_RAS, Grid
from tasks.io import storage

LUNG_HU, LESION_HU = -850, -50
UID_ROOT = "1.2.826.0.1.3680043.8.498."


@dataclass(frozen=True, slots=True)
class Truth:
    """A ball of lesion in a world of lung.

    Attributes:
        centre: RAS+, mm.
        radius_mm: Of the ball.
    """

    centre: tuple[float, float, float] = (12.0, -7.0, 21.0)
    radius_mm: float = 9.0

    def mask(self, grid: Grid) -> np.ndarray:
        """Return which voxels of a grid have their centre in the lesion, uint8 of the grid's shape."""
        indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
        world = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        return (np.linalg.norm(world - self.centre, axis=-1) <= self.radius_mm).astype(np.uint8)

    def voxels(self, grid: Grid) -> np.ndarray:
        """Return Hounsfield units on a grid, int16; a little gradient, so that no slice is constant."""
        hu = np.where(self.mask(grid), LESION_HU, LUNG_HU).astype(np.int16)
        return hu + np.arange(grid.shape[2], dtype=np.int16) % 7


def grid_around(truth: Truth, shape: tuple[int, int, int], spacing_mm: Sequence[float], directions: np.ndarray) -> Grid:
    """Return a grid that holds the lesion a little off its middle.

    Args:
        truth: The lesion.
        shape: Voxels along each axis.
        spacing_mm: Of each axis.
        directions: World direction of each axis as a column, RAS+, `(3, 3)`.
    """
    affine = np.eye(4)
    affine[:3, :3] = directions * np.asarray(spacing_mm)
    middle = affine[:3, :3] @ (np.array(shape) * [0.45, 0.55, 0.4])
    affine[:3, 3] = np.asarray(truth.centre) - middle
    return Grid(shape, affine)


def to_nifti(voxels: np.ndarray, grid: Grid, *, is_gzipped: bool = True) -> bytes:
    """Return a volume as NIfTI."""
    content: bytes = nib.Nifti1Image(voxels, grid.affine).to_bytes()
    return storage_gzip(content) if is_gzipped else content


def storage_gzip(content: bytes) -> bytes:
    """Return bytes gzipped."""
    import gzip

    return gzip.compress(content, 1)


def to_dicom(voxels: np.ndarray, grid: Grid, *, series: int = 1, **changes: Any) -> list[Dataset]:
    """Return a volume, `(slice, row, column)`, as a CT series; `changes` are set on every slice."""
    lps = LPS_TO_RAS @ grid.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    row_direction, column_direction = lps[:3, 2] / spacing[2], lps[:3, 1] / spacing[1]
    slices = []
    for number, pixels in enumerate(voxels):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        uid = f"{UID_ROOT}{series}.{number + 1}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{UID_ROOT}9", f"{UID_ROOT}{series}"
        dataset.FrameOfReferenceUID = f"{UID_ROOT}8"
        dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.PatientName, dataset.PatientID = "Secret^Name", "SECRET-ID"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelSpacing = [float(spacing[1]), float(spacing[2])]
        dataset.ImageOrientationPatient = [*row_direction.tolist(), *column_direction.tolist()]
        dataset.ImagePositionPatient = (lps @ [number, 0, 0, 1])[:3].tolist()
        dataset.InstanceNumber = 1 + (number * 7) % len(voxels)  # says nothing of the order
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.PixelData = (pixels.astype(np.int32) + 1024).astype("<u2").tobytes()
        for keyword, value in changes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        slices.append(dataset)
    return slices


IN_GROUPS = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")


def frame_order(n_slices: int) -> list[int]:
    """Return the numbers of slices in the order of the frames that `enhanced` makes of them."""
    return sorted(range(n_slices), key=lambda number: number * 7 % 11)


def enhanced(slices: Sequence[Dataset]) -> Dataset:
    """Return a series as one Enhanced CT file, its frames in no order."""
    order = frame_order(len(slices))
    dataset = copy.deepcopy(slices[0])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.NumberOfFrames = len(slices)
    dataset.PixelData = b"".join(slices[number].PixelData for number in order)
    orientation, measures, rescale = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
    measures.PixelSpacing = dataset.PixelSpacing
    rescale.RescaleSlope, rescale.RescaleIntercept = dataset.RescaleSlope, dataset.RescaleIntercept
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = (
        DicomSequence([orientation]),
        DicomSequence([measures]),
    )
    shared.PixelValueTransformationSequence = DicomSequence([rescale])
    dataset.SharedFunctionalGroupsSequence = DicomSequence([shared])
    frames = []
    for number in order:
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = slices[number].ImagePositionPatient
        frame.PlanePositionSequence = DicomSequence([position])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    for keyword in (
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(dataset, keyword)
    return dataset


def to_bytes(dataset: Dataset) -> bytes:
    """Return a dataset as a DICOM file."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def put_series(uri: str, slices: Sequence[Dataset], *, suffix: str = ".dcm") -> None:
    """Write a series below a URI, under names that say nothing of the order."""
    for number, dataset in enumerate(slices):
        storage.publish(storage.join(uri, f"{(number * 13) % 9973:04d}{suffix}"), to_bytes(dataset))
