"""DICOM CT: headers by allow-list, pixels as Hounsfield units; single-frame and Enhanced multi-frame."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage

from tasks.core.errors import DataError, ErrorCode
from tasks.core.quoting import known_or_described
from tasks.core.slice_geometry import SlicePlane
from tasks.io.formats.dicom_tags import TAGS
from tasks.io.formats.format import Format

PREAMBLE_BYTES: Final = 132
MAGIC: Final = b"DICM"
HEADER_BYTES: Final = 32 << 10
"""First bytes of a file, which hold its header: some KiB, more with private elements."""

MAX_PIXELS: Final = 4096 * 4096
"""Largest frame: scanners make 512x512, research ones 2048x2048; a compressed stream may claim far more."""

CT_CLASSES: Final = {CTImageStorage, EnhancedCTImageStorage}
MODALITIES: Final = frozenset(
    """
    ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS
    KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE
    RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA
    XAPROTOCOL XC
    """.split()  # noqa: SIM905 - a list would be eighty lines
)
"""Defined terms of Modality (PS3.3 C.7.3.1.1.1), which may be quoted."""

UID_NAMES: Final = frozenset(name for name, *_ in UID_dictionary.values())
"""Names of the SOP classes and transfer syntaxes of the standard (PS3.6, annex A)."""


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a DICOM file.

    Attributes:
        series_uid: Series Instance UID.
        instance_uid: SOP Instance UID.
        is_localiser: Whether it is an overview image and no slice.
        planes: Planes of its frames.
        refused: Reason of its rejection.
    """

    series_uid: str
    instance_uid: str
    is_localiser: bool
    planes: tuple[SlicePlane, ...]
    refused: tuple[ErrorCode, str] | None


def is_dicom(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a DICOM file (PS3.10, 7.1)."""
    return head[128:PREAMBLE_BYTES] == MAGIC


def read_header(head: bytes, *, is_whole: bool = True) -> Header:
    """Return the header in the first bytes of a file.

    Args:
        head: First bytes of the file.
        is_whole: Whether they are the whole file.

    Raises:
        DataError: `unreadable`, if they are no DICOM header, or an incomplete one.
    """
    with _errors():
        buffer = io.BytesIO(head)
        dataset = pydicom.dcmread(buffer, stop_before_pixels=True, specific_tags=list(TAGS))
        if buffer.tell() >= len(head) and not is_whole:  # pydicom accepts a truncated header as a short one
            raise DataError("unreadable", f"The header is longer than {len(head)} bytes.")
        return Header(
            series_uid=str(dataset.get("SeriesInstanceUID", "")),
            instance_uid=str(dataset.get("SOPInstanceUID", "")),
            is_localiser="LOCALIZER" in [str(value).upper() for value in dataset.get("ImageType") or ()],
            planes=tuple(_planes(dataset)),
            refused=_refused(dataset),
        )


def read_frames(content: bytes, frames: Sequence[int]) -> np.ndarray:
    """Return frames of a file in Hounsfield units.

    Args:
        content: The whole file.
        frames: Indices of the frames.

    Returns:
        float32 `(len(frames), H, W)`: stored values x Rescale Slope + Rescale Intercept (PS3.3 C.11.1.1.2).

    Raises:
        DataError: `unreadable` or `unsupported_syntax`.
    """
    with _errors():
        dataset = pydicom.dcmread(io.BytesIO(content))
        _check_syntax(dataset)
        found = []
        for frame in frames:
            slope, intercept = _rescale(dataset, frame)
            stored = pixel_array(dataset, index=frame)
            found.append(stored.astype(np.float32) * np.float32(slope) + np.float32(intercept))
    return np.stack(found)


def _planes(dataset: pydicom.Dataset) -> Iterator[SlicePlane]:
    shape = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    n_frames, n_groups = (
        int(dataset.get("NumberOfFrames") or 1),
        len(dataset.get("PerFrameFunctionalGroupsSequence") or ()),
    )
    if n_frames > 1 and n_frames != n_groups:  # a number alone could fill the memory
        raise DataError("unreadable", f"File claims {n_frames} frames and describes {n_groups}. Export it again.")
    for frame in range(n_frames):
        yield SlicePlane(
            position=_numbers(_found(dataset, frame, "PlanePositionSequence", "ImagePositionPatient"), 3),
            cosines=_numbers(_found(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient"), 6),
            pixel_spacing_mm=_numbers(_found(dataset, frame, "PixelMeasuresSequence", "PixelSpacing"), 2),
            shape=shape,
        )


def _found(dataset: pydicom.Dataset, frame: int, sequence: str, keyword: str) -> Any:  # Any: a DICOM value
    """Return an attribute of a frame: its own, else the shared one, else that of the dataset (PS3.3 C.7.6.16)."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in [*per_frame[frame : frame + 1], *shared[:1]]:
        items = group.get(sequence)
        if items and items[0].get(keyword) is not None:
            return items[0].get(keyword)
    return dataset.get(keyword)


def _numbers(values: Any, n: int) -> Any:  # Any: a DICOM value in, a tuple of that many numbers out
    try:
        numbers = tuple(float(value) for value in values or ())
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == n and np.isfinite(numbers).all() else None


def _rescale(dataset: pydicom.Dataset, frame: int) -> tuple[float, float]:
    slope = _found(dataset, frame, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _found(dataset, frame, "PixelValueTransformationSequence", "RescaleIntercept")
    return float(slope), float(intercept)


def _refused(dataset: pydicom.Dataset) -> tuple[ErrorCode, str] | None:
    modality, sop_class = str(dataset.get("Modality") or ""), UID(str(dataset.get("SOPClassUID") or ""))
    if modality != "CT" or sop_class not in CT_CLASSES:
        shown_modality = known_or_described(modality, MODALITIES, "Modality")
        shown_class = known_or_described(sop_class.name, UID_NAMES, "UID")
        return "not_ct", f"Modality is {shown_modality}, SOP class {shown_class}; CT images are segmented."
    n_pixels = int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0)
    if n_pixels > MAX_PIXELS:
        return "too_large", f"A slice has {n_pixels} pixels; at most {MAX_PIXELS} are decoded."
    n_samples = int(dataset.get("SamplesPerPixel") or 1)
    if n_samples != 1:
        return "not_grey", f"The image has {n_samples} samples a pixel, so colours; CT values were expected."
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        return "burned_in_annotation", "The header says that text is burned into the pixels; it may name the patient."
    try:
        _rescale(dataset, 0)
    except (TypeError, ValueError):
        return "missing_rescale", "Rescale slope or intercept is missing, so values are not Hounsfield units."
    return None


def _check_syntax(dataset: pydicom.Dataset) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not _is_decodable(syntax):
        name = known_or_described(syntax.name, UID_NAMES, "UID")
        raise DataError("unsupported_syntax", f"Transfer syntax {name} is not decoded; send it uncompressed.")


def _is_decodable(syntax: UID) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Raise any error of pydicom and its decoders on damaged input as a `DataError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about values that do not keep to the standard
            yield
    except (DataError, MemoryError):  # a MemoryError is not the fault of the file
        raise
    except InvalidDicomError as err:
        raise DataError("unreadable", "File is not a DICOM file: its preamble is missing. Export it again.") from err
    except Exception as err:  # its text may quote a header
        raise DataError(
            "unreadable", f"DICOM file is damaged or cut short ({type(err).__name__}). Upload it again."
        ) from err


DICOM = Format("dicom", "DICOM", (".dcm", ".dicom", ".ima"))
"""DICOM series, which `dicom_series` reads."""
