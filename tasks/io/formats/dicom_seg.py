"""Masks as DICOM segmentation objects that refer to their source images and hold no name or id of the patient.

Of the source's study, only the UID is copied, by which an archive finds the study. The patient's name and id and the
dates stay empty, so that a mask can leave the hospital.
"""

import hashlib
import io
import warnings
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import pydicom
from pydicom.datadict import dictionary_description
from pydicom.uid import UID, generate_uid

from tasks.core.errors import DataError
from tasks.core.volumes import LPS_TO_RAS, POSITION_TOLERANCE_MM, Grid
from tasks.io.formats.dicom import parse_header
from tasks.io.formats.dicom_tags import TAGS
from tasks.io.formats.format import MaskWriter, ScanMask

FRACTION: Final = 0.5
SERIES_NUMBER: Final = 9900
_REFERENCES: Final = ["FrameOfReferenceUID", "SliceThickness", "SpacingBetweenSlices"]
_NEEDED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
UTF_8: Final = "ISO_IR 192"
_NOBODY: Final = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)


SegmentationType = Literal["BINARY", "LABELMAP"]
"""Types of the object: bits, which every viewer reads, or labels (PS3.3 A.51 and A.90), which newer ones read."""


def write_segmentation(
    sources: Sequence[pydicom.Dataset],
    mask: np.ndarray,
    *,
    model_digest: str,
    code_version: str,
    kind: SegmentationType = "BINARY",
) -> bytes:
    """Return a mask as a DICOM-SEG file (PS3.3 A.51), with UIDs derived from its source.

    Args:
        sources: Headers of the source files in the order of the mask's slices; of a multi-frame source the one file.
        mask: 0 and 1, `(slice, row, column)`; of a multi-frame source in the order of its frames.
        model_digest: Digest of the bundle.
        code_version: Version of this package.
        kind: Type of the object.

    Raises:
        DataError: `unreadable`, if the source's headers lack what a segmentation object needs.
    """
    try:
        return _write(sources, mask, model_digest=model_digest, code_version=code_version, kind=kind)
    except Exception as err:  # highdicom raises nearly anything over headers that lack what the standard asks for
        reason = type(err).__name__  # its text may quote a header
        raise DataError("unreadable", f"the headers lack what a segmentation object needs ({reason}).") from err


def write_scan_mask(mask: ScanMask, kind: SegmentationType = "BINARY") -> bytes:
    """Return the mask of a series as a DICOM-SEG file that refers to its images.

    Raises:
        DataError: `unreadable`, if the headers lack what a segmentation object needs.
    """
    if mask.grid is None:
        raise ValueError("A DICOM series has a grid.")
    stored = mask.grid.from_reading(mask.voxels)
    source = mask.read_heads()
    stored = np.delete(stored, source.missing, axis=0)
    if source.frames:  # in the file's own order
        stored = stored[np.argsort(source.frames)]
    sources = [_source(head, mask.grid.spacing_mm[0]) for head in source.heads]
    _check_needed(sources)
    if source.frames and len(source.frames) != int(sources[0].get("NumberOfFrames") or 1):
        raise DataError("unreadable", "only a part of the file's frames belongs to this scan.")
    if _with_one_frame_of_reference(sources):
        mask.warnings.append("The slices share no Frame of Reference UID; the DICOM-SEG has one of its own.")
    return write_segmentation(
        sources, stored, model_digest=mask.model_digest, code_version=mask.code_version, kind=kind
    )


def _check_needed(sources: Sequence[pydicom.Dataset]) -> None:
    for keyword in _NEEDED:
        if not all(source.get(keyword) for source in sources):
            raise DataError(
                "unreadable", f"the headers have no {dictionary_description(keyword)}, by which it is found."
            )
    if len({source.SOPInstanceUID for source in sources}) < len(sources):
        raise DataError("unreadable", "slices share an SOP Instance UID, so that it cannot refer to them.")


def _with_one_frame_of_reference(sources: Sequence[pydicom.Dataset]) -> bool:
    """Give slices without a common frame of reference one, and return whether that was needed."""
    found = {source.get("FrameOfReferenceUID") for source in sources}
    if len(found) == 1 and found != {None} and found != {""}:
        return False
    uid = _uid("frame of reference", [str(sources[0].SeriesInstanceUID)])
    for source in sources:
        source.FrameOfReferenceUID = uid
    return True


def referenced_series(content: bytes) -> set[str]:
    """Return the Series Instance UIDs that a DICOM-SEG file refers to; empty for one that names none.

    Raises:
        DataError: `unreadable`, if it is no DICOM file.
    """
    try:
        found = parse_header(content, ["ReferencedSeriesSequence"]).get("ReferencedSeriesSequence") or ()
        return {str(item.SeriesInstanceUID) for item in found if item.get("SeriesInstanceUID")}
    except Exception as err:  # pydicom raises nearly anything; its text may quote a header
        raise DataError("unreadable", f"File is no DICOM file ({type(err).__name__}). Export it again.") from err


def read_segmentation(content: bytes, grid: Grid) -> np.ndarray:
    """Return a DICOM-SEG file as labels on the grid of its image.

    Args:
        content: The whole file.
        grid: Grid of the image, in the order of its slices' positions.

    Returns:
        Segment numbers of the grid's shape, 0 outside; a fractional segment counts from one half.

    Raises:
        DataError: `unreadable`, or `mixed_geometry` if it lies on another grid: nothing is interpolated.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about values that do not keep to the standard
            return _read(content, grid)
    except (DataError, MemoryError):  # a MemoryError is not the fault of the file
        raise
    except Exception as err:  # highdicom and pydicom raise nearly anything; their text may quote a header
        raise DataError(
            "unreadable", f"File is no DICOM segmentation that can be read ({type(err).__name__}). Export it again."
        ) from err


def _read(content: bytes, grid: Grid) -> np.ndarray:
    import highdicom as hd

    segmentation = hd.seg.segread(io.BytesIO(content))
    if segmentation.segmentation_type == hd.seg.SegmentationTypeValues.FRACTIONAL:
        labels = segmentation.get_volume()
        labels = labels.with_array((labels.array >= FRACTION).astype(np.uint8).max(axis=-1))
    else:
        labels = segmentation.get_volume(combine_segments=True)
    image = hd.VolumeGeometry(LPS_TO_RAS @ grid.affine, grid.shape, coordinate_system="PATIENT")
    try:
        matched: np.ndarray = labels.match_geometry(image, tol=POSITION_TOLERANCE_MM).array
    except (RuntimeError, ValueError) as err:
        raise DataError(
            "mixed_geometry", "The segmentation lies on another grid than its image; export it on the image's grid."
        ) from err
    if np.count_nonzero(matched) != np.count_nonzero(labels.array):  # what lies outside was cut off
        raise DataError("mixed_geometry", "The segmentation reaches beyond its image; is it another image's?")
    return matched


def _write(
    sources: Sequence[pydicom.Dataset],
    mask: np.ndarray,
    *,
    model_digest: str,
    code_version: str,
    kind: SegmentationType,
) -> bytes:
    import highdicom as hd  # imported here, because only runs with dicom_seg need it
    from highdicom.sr.coding import CodedConcept

    lesion = CodedConcept("52988006", "SCT", "Lesion")  # SNOMED CT, in DICOM CID 7159
    abnormal = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
    algorithm = hd.AlgorithmIdentificationSequence(
        name="lung-lesion-workflow",
        family=CodedConcept("123110", "DCM", "Artificial Intelligence"),
        version=code_version,
        parameters={"model": model_digest},
    )
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Lung lesion",
        segmented_property_category=abnormal,
        segmented_property_type=lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    content = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
    made_of = [str(sources[0].SeriesInstanceUID), model_digest, code_version, content]
    made_of += [] if kind == "BINARY" else [kind]
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=mask.astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues[kind],
        segment_descriptions=[segment],
        series_instance_uid=_uid("series", made_of),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid("instance", made_of),
        instance_number=1,
        manufacturer="lung-lesion-workflow",
        manufacturer_model_name="lung-lesion-workflow",
        software_versions=code_version,
        device_serial_number="0",
        omit_empty_frames=bool(mask.any()),
    )
    buffer = io.BytesIO()
    segmentation.save_as(buffer)
    return buffer.getvalue()


def _source(head: bytes, spacing_mm: float) -> pydicom.Dataset:
    source = parse_header(head, (*TAGS, *_REFERENCES))
    source.SpecificCharacterSet = UTF_8  # of a source it may be empty or unknown to Python; no text of it is copied
    for keyword in _NOBODY:
        setattr(source, keyword, "")
    shared = source.get("SharedFunctionalGroupsSequence") or [source]
    measures = (shared[0].get("PixelMeasuresSequence") or [shared[0]])[0]
    if not measures.get("SliceThickness"):  # may be missing or empty, and highdicom needs one
        measures.SliceThickness = spacing_mm
    return source


def _uid(what: str, made_of: Sequence[str]) -> UID:
    return generate_uid(entropy_srcs=[what, *made_of])


DICOM_SEG = MaskWriter("dicom-seg", "DICOM-SEG", "dcm", frozenset({"series"}), write_scan_mask, asked_by="dicom_seg")
"""Writer of binary segments that refer to the images of the series."""
