"""DICOM CT: headers by allow-list, pixels as Hounsfield units; single-frame and Enhanced multi-frame."""

import contextlib
import hashlib
import io
import math
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tasks.core.errors import DataError, ErrorCode
from tasks.core.quoting import known_or_described
from tasks.core.series_parts import SeriesSlice
from tasks.core.slice_geometry import SlicePlane
from tasks.io.formats.dicom_deflated import inflated, is_deflated
from tasks.io.formats.dicom_refusals import (
    UID_NAMES,
    found_in,
    image_type_of,
    refusal_of,
    rescale_of,
    warnings_of,
)
from tasks.io.formats.dicom_tags import TAGS
from tasks.io.formats.format import Format

PREAMBLE_BYTES: Final = 132
MAGIC: Final = b"DICM"
HEADER_BYTES: Final = 32 << 10
"""First bytes of a file, which hold its header: some KiB, more with private elements."""

MAX_HEADER_BYTES: Final = 1 << 20
"""Largest header of a deflated file, and what may follow its pixels."""

MAX_INFLATED_BYTES: Final = 1 << 30
"""Largest deflated image: two thousand frames of 512x512; headers of hostile files claim far more."""
_SIZE_TAGS: Final = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames")
"""Tags whose product is the number of bits of the pixels."""

AIR_HU: Final = -1000.0
FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""First bytes of a data set without preamble: group 0002 or 0008, the latter in either byte order (PS3.5, 7.1)."""

PHASE_TAGS: Final = (
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "ConvolutionKernel",
    "ImageType",
    "FilterType",
    "KVP",
    "AcquisitionTime",
    "ContentTime",
)
"""Tags that may tell scans of one series apart, the clearest first; values are compared and never shown."""

PHASE_TAGS_OF_FRAMES: Final = ("TemporalPositionIndex", "StackID")


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a DICOM file.

    Attributes:
        series_uid: Series Instance UID.
        study_uid: Study Instance UID.
        slices: Its frames; of a file that is refused, one that stands for all.
        warnings: Warnings for the user.
    """

    series_uid: str
    study_uid: str
    slices: tuple[SeriesSlice, ...]
    warnings: tuple[str, ...] = ()

    @property
    def refused(self) -> tuple[ErrorCode, str] | None:
        """Reason of its rejection."""
        return self.slices[0].refused


def is_dicom(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a DICOM file (PS3.10, 7.1), or of one without preamble."""
    return head[128:PREAMBLE_BYTES] == MAGIC or _is_bare(head)


def _is_bare(head: bytes) -> bool:
    """Return whether bytes begin with a data element of the first groups, as old exports and planning systems write."""
    is_explicit = head[4:6].isalpha() and head[4:6].isupper()
    return head[:2] in FIRST_GROUPS and (is_explicit or head[6:8] == bytes(2)) and len(head) >= PREAMBLE_BYTES


def read_header(head: bytes, *, is_whole: bool = True) -> Header:
    """Return the header in the first bytes of a file.

    Args:
        head: First bytes of the file.
        is_whole: Whether they are the whole file.

    Raises:
        DataError: `unreadable`, if they are no DICOM header, or an incomplete one.
    """
    with _errors():
        dataset = parse_header(head, TAGS, is_whole=is_whole)
        refused = refusal_of(dataset)
        n_frames = 1 if refused else int(dataset.get("NumberOfFrames") or 1)
        return Header(
            series_uid=str(dataset.get("SeriesInstanceUID", "")),
            study_uid=str(dataset.get("StudyInstanceUID", "")),
            slices=tuple(_slice(dataset, frame, refused) for frame in range(n_frames)),
            warnings=tuple(warnings_of(dataset)),
        )


def parse_header(head: bytes, tags: Collection[str], *, is_whole: bool = True) -> pydicom.Dataset:
    """Return some attributes of the header in the first bytes of a file, with or without preamble.

    Raises:
        DataError: `unreadable`, if the header is not whole.
    """
    if is_deflated(head):
        head, is_all = inflated(head, MAX_HEADER_BYTES)
        is_whole = is_whole and is_all
    buffer = io.BytesIO(head)
    dataset = pydicom.dcmread(buffer, force=_is_bare(head), stop_before_pixels=True, specific_tags=list(tags))
    if buffer.tell() >= len(head) and not is_whole:  # pydicom accepts a truncated header as a short one
        raise DataError("unreadable", f"The header is longer than {len(head)} bytes.")
    return dataset


def _parse(content: bytes) -> pydicom.Dataset:
    """Return the data set of a file; a deflated one is inflated to what its header claims."""
    if is_deflated(content):
        claims = parse_header(content, _SIZE_TAGS, is_whole=False)
        n_bytes = math.prod(int(claims.get(tag) or 1) for tag in _SIZE_TAGS) // 8
        content, is_all = inflated(content, MAX_HEADER_BYTES + max(0, min(n_bytes, MAX_INFLATED_BYTES)))
        if not is_all:
            limit = f"{MAX_INFLATED_BYTES >> 20} MiB"
            raise DataError(
                "unreadable", f"It inflates to more than its header claims, or than {limit}. Export it uncompressed."
            )
    dataset = pydicom.dcmread(io.BytesIO(content), force=_is_bare(content))
    _check_syntax(dataset)
    return dataset


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
        dataset = _parse(content)
        found = []
        for frame in frames:
            slope, intercept = rescale_of(dataset, frame)
            stored = _stored(dataset, frame)
            values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
            found.append(_without_padding(values, stored, dataset))
    return np.stack(found)


def digest_of_frame(content: bytes, frame: int) -> str:
    """Return a digest of the stored pixels of a frame.

    Raises:
        DataError: `unreadable` or `unsupported_syntax`.
    """
    with _errors():
        dataset = _parse(content)
        return hashlib.sha256(np.ascontiguousarray(pixel_array(dataset, index=frame)).tobytes()).hexdigest()


def _stored(dataset: pydicom.Dataset, frame: int) -> np.ndarray:
    """Return the stored values of a frame; bits that do not begin at the lowest are moved down to it.

    pydicom 3.0 takes High Bit for Bits Stored - 1 (pixels/decoders/base.py, `_correct_unused_bits`).
    """
    n_allocated, n_stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high = int(dataset.get("HighBit", n_stored - 1))
    if high == n_stored - 1 or dataset.file_meta.TransferSyntaxUID.is_compressed:
        found: np.ndarray = pixel_array(dataset, index=frame)
        return found
    if not n_stored - 1 < high < n_allocated:
        raise DataError(
            "unreadable", f"High Bit is {high}, Bits Stored {n_stored} and Bits Allocated {n_allocated}: impossible."
        )
    found = pixel_array(dataset, index=frame, correct_unused_bits=False)
    return (found << (n_allocated - 1 - high)) >> (n_allocated - n_stored)


def _without_padding(values: np.ndarray, stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Return Hounsfield units in which padding is at most air (Pixel Padding Value, PS3.3 C.7.5.1.1.2)."""
    padding = dataset.get("PixelPaddingValue")
    if padding is None:
        return values
    ends = sorted((int(padding), int(dataset.get("PixelPaddingRangeLimit", padding))))
    is_padding = (stored >= ends[0]) & (stored <= ends[1])
    return np.where(is_padding, np.minimum(values, np.float32(AIR_HU)), values)


def _slice(dataset: pydicom.Dataset, frame: int, refused: tuple[ErrorCode, str] | None) -> SeriesSlice:
    phase = {keyword: str(dataset.get(keyword, "")) for keyword in PHASE_TAGS}
    for keyword in PHASE_TAGS_OF_FRAMES:
        phase[keyword] = str(found_in(dataset, frame, "FrameContentSequence", keyword) or "")
    plane = SlicePlane(
        position=_numbers(found_in(dataset, frame, "PlanePositionSequence", "ImagePositionPatient"), 3),
        cosines=_numbers(found_in(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        pixel_spacing_mm=_numbers(found_in(dataset, frame, "PixelMeasuresSequence", "PixelSpacing"), 2),
        shape=(int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)),
    )
    return SeriesSlice(
        plane=plane,
        phase=phase,
        is_localiser=not refused and "LOCALIZER" in image_type_of(dataset, frame),
        refused=refused,
    )


def _numbers(values: Any, n: int) -> Any:  # Any: a DICOM value in, a tuple of that many numbers out
    try:
        numbers = tuple(float(value) for value in values or ())
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == n and np.isfinite(numbers).all() else None


def _check_syntax(dataset: pydicom.Dataset) -> None:
    """Refuse a transfer syntax that is not decoded; a data set without meta header gets the one pydicom found."""
    meta = dataset.file_meta
    if "TransferSyntaxUID" not in meta:
        is_implicit, is_little = dataset.original_encoding
        meta.TransferSyntaxUID = _BARE_SYNTAXES[bool(is_implicit), bool(is_little)]
    syntax: UID = meta.TransferSyntaxUID
    if syntax.is_compressed and not _is_decodable(syntax):
        name = known_or_described(syntax.name, UID_NAMES, "UID")
        raise DataError("unsupported_syntax", f"Transfer syntax {name} is not decoded; send it uncompressed.")


_BARE_SYNTAXES: Final = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
"""Transfer syntax by whether value representations are implicit, and bytes little-endian."""


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
