"""Tags read from DICOM headers; none of them identifies a patient."""

from typing import Final

TAGS: Final = [
    "AcquisitionNumber",
    "AcquisitionTime",
    "BitsAllocated",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "Columns",
    "ContentTime",
    "ConvolutionKernel",
    "FilterType",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "KVP",
    "Modality",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesInstanceUID",
    "SharedFunctionalGroupsSequence",
    "StudyInstanceUID",
    "TemporalPositionIdentifier",
]
"""All tags that are read from headers; none of them identifies a person."""
