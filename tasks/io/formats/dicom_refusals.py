"""What a DICOM header says about its image: whether it is a CT image in Hounsfield units, and of which body part."""

from collections.abc import Iterator
from typing import Any, Final

import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from tasks.core.errors import ErrorCode
from tasks.core.quoting import known_or_described

MAX_PIXELS: Final = 4096 * 4096
"""Largest frame: scanners make 512x512, research ones 2048x2048; a compressed stream may claim far more."""

BITS_ALLOCATED: Final = {1, 8, 16, 32, 64}
"""Values of Bits Allocated (PS3.3 C.7.6.3.1, PS3.5 8.1.1)."""

CT_CLASSES: Final = {CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage}
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

HU: Final = "HU"
NOT_HU_UNITS: Final = frozenset({"ED", "EDW", "HU_MOD", "MGML", "OD", "PCT", "Z_EFF"})
"""Defined terms of Rescale Type (PS3.3 C.11.1.1.2) that are no Hounsfield units. US, unspecified, says nothing: GDCM
writes it into every CT that it recodes (gdcmImageHelper.cxx); others are free text."""

NOT_HU_TYPES: Final = frozenset(
    """
    ATOMIC_NUMBER CBF CBV DIVISION EFFECTIVE_ATOMIC_NUM ELECTRON_DENSITY IODINE MATERIAL_DENSITY MATERIAL_FRACTIONAL
    MATERIAL_MODIFIED MAXIMUM MAX_IP MINIMUM MINIP MIN_IP MIP MTT MULTIPLICATION PBV PERFUSION PROJECTION STD_DEVIATION
    SUBTRACTION SURFACE TMAX TTP VOLUME_RENDERED Z_EFF
    """.split()  # noqa: SIM905 - as above
) | {"CSA MIP", "CSA MINIP", "PROJECTION IMAGE", "SCREEN SAVE"}
"""Values of Image Type (PS3.3 C.8.15.3.1.1, C.8.16.1 and scanners' own) of projections, quotients and maps."""

OTHER_PARTS: Final = frozenset(
    """
    ABDOMEN ANKLE ARM BRAIN CALCANEUS CEREBELLUM CSPINE ELBOW EXTREMITY EYE FACE FEMUR FINGER FOOT FOREARM HAND HEAD
    HEADNECK HIP HUMERUS JAW KIDNEY KNEE LEG LIVER LSPINE MANDIBLE MAXILLA NECK ORBIT PELVIS PROSTATE SACRUM SELLA SINUS
    SKULL SSPINE TEETH THIGH TMJ TOE WRIST ZYGOMA
    """.split()  # noqa: SIM905 - as above
)
"""Values of Body Part Examined (PS3.16 annex L) that are no chest."""


def refusal_of(dataset: pydicom.Dataset) -> tuple[ErrorCode, str] | None:
    """Return why an image is not segmented, whatever its pixels: what it is comes before how it is described."""
    return _not_ct(dataset) or _not_hu(dataset) or _not_readable(dataset)


def warnings_of(dataset: pydicom.Dataset) -> Iterator[str]:
    """Yield what a header says that speaks against a chest CT, and is often wrong."""
    part = str(dataset.get("BodyPartExamined") or "").upper().replace(" ", "")
    if part in OTHER_PARTS:
        yield f"Body Part Examined is {part}; a chest CT was expected."
    if _unit_of(dataset) not in {HU, *NOT_HU_UNITS}:
        shown = known_or_described(_unit_of(dataset), {"US"}, "Rescale Type")
        yield f"Rescale Type is {shown}, which names no unit; values are taken for Hounsfield units."


def found_in(dataset: pydicom.Dataset, frame: int, sequence: str, keyword: str) -> Any:  # Any: a DICOM value
    """Return an attribute of a frame: its own, else the shared one, else that of the dataset (PS3.3 C.7.6.16)."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in [*per_frame[frame : frame + 1], *shared[:1]]:
        items = group.get(sequence)
        if items and items[0].get(keyword) is not None:
            return items[0].get(keyword)
    return dataset.get(keyword)


def rescale_of(dataset: pydicom.Dataset, frame: int) -> tuple[float, float]:
    """Return Rescale Slope and Rescale Intercept of a frame.

    Raises:
        TypeError: If one is missing.
        ValueError: If one is no number.
    """
    slope = found_in(dataset, frame, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = found_in(dataset, frame, "PixelValueTransformationSequence", "RescaleIntercept")
    return float(slope), float(intercept)


def image_type_of(dataset: pydicom.Dataset, frame: int) -> list[str]:
    """Return the values of Image Type, of a frame those of its Frame Type as well."""
    found = dataset.get("ImageType"), found_in(dataset, frame, "CTImageFrameTypeSequence", "FrameType")
    return [value for values in found if values for value in _texts(values)]


def _texts(found: Any) -> list[str]:  # Any: one value, or several
    return [str(value).upper() for value in ([found] if isinstance(found, str) else found)]


def _not_ct(dataset: pydicom.Dataset) -> tuple[ErrorCode, str] | None:
    modality, sop_class = str(dataset.get("Modality") or ""), UID(str(dataset.get("SOPClassUID") or ""))
    if modality == "CT" and sop_class in CT_CLASSES:
        return None
    shown_modality = known_or_described(modality, MODALITIES, "Modality")
    shown_class = known_or_described(sop_class.name, UID_NAMES, "UID")
    return "not_ct", f"Modality is {shown_modality}, SOP class {shown_class}: no CT image."


def _not_hu(dataset: pydicom.Dataset) -> tuple[ErrorCode, str] | None:
    unit = _unit_of(dataset)
    if unit in NOT_HU_UNITS:
        return "not_hu", f"Rescale Type is {unit}, so values are not Hounsfield units."
    for value in image_type_of(dataset, 0):
        if value in NOT_HU_TYPES:
            return "not_hu", f"Image Type holds {value}: no plain slices in Hounsfield units."
    return None


def _unit_of(dataset: pydicom.Dataset) -> str:
    found = found_in(dataset, 0, "PixelValueTransformationSequence", "RescaleType")
    return _texts(found)[0].strip() if found else HU


def _not_readable(dataset: pydicom.Dataset) -> tuple[ErrorCode, str] | None:
    n_pixels = int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0)
    if n_pixels > MAX_PIXELS:
        return "too_large", f"A slice has {n_pixels} pixels; at most {MAX_PIXELS} are decoded."
    n_bits = int(dataset.get("BitsAllocated") or 16)
    if n_bits not in BITS_ALLOCATED:
        return "unreadable", f"Bits Allocated is {n_bits}; 8, 16 or 32 was expected. Export it again."
    n_samples = int(dataset.get("SamplesPerPixel") or 1)
    if n_samples != 1:
        return "not_grey", f"The image has {n_samples} samples a pixel, so colours; CT values were expected."
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        return "burned_in_annotation", "The header says that text is burned into the pixels; it may name the patient."
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    if n_frames < 1:
        return "unreadable", f"The file claims {n_frames} frames; at least 1 was expected. Export it again."
    n_groups = len(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    if n_frames > 1 and n_frames != n_groups:  # a number alone could fill the memory
        found = f"The file claims {n_frames} frames and has positions of {n_groups}, as of a cone beam"
        return "missing_position", f"{found}; their order is unknown. Export it as single slices."
    try:
        rescale_of(dataset, 0)
    except (TypeError, ValueError):
        return "missing_rescale", "Rescale slope or intercept is missing, so values are not Hounsfield units."
    return None
