"""One format a file. A new one is a module here and a line in each registry it serves."""

import posixpath
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from tasks.core.errors import DataError
from tasks.core.quoting import known_or_described
from tasks.core.volumes import Volume
from tasks.io.formats import dicom
from tasks.io.formats.metaimage import read_metaimage
from tasks.io.formats.nifti import read_nifti
from tasks.io.formats.nrrd import read_nrrd
from tasks.io.formats.raster import read_raster, read_raster_labels

Kind = Literal["raster", "stack", "nifti", "metaimage", "nrrd", "dicom"]
"""What reads a scan: one slice a file, many of those, a volume a file, or a series of files."""

READERS: dict[str, Callable[[bytes], np.ndarray]] = dict.fromkeys(
    (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"), read_raster
)
"""From suffix to what decodes a slice's grey values."""

LABEL_READERS: dict[str, Callable[[bytes], np.ndarray]] = dict.fromkeys(READERS, read_raster_labels)
"""From suffix to what decodes a mask's stored values."""

VOLUME_READERS: dict[Kind, Callable[[bytes], Volume]] = {
    "nifti": read_nifti,
    "metaimage": read_metaimage,
    "nrrd": read_nrrd,
}
"""What reads a whole volume from one file."""

KINDS: dict[str, Kind] = {
    **dict.fromkeys(READERS, "raster"),
    **dict.fromkeys((".nii", ".nii.gz"), "nifti"),
    ".mha": "metaimage",
    ".nrrd": "nrrd",
    **dict.fromkeys(dicom.SUFFIXES, "dicom"),
}
"""From suffix to kind; a file without a suffix, or with a number for one, may be DICOM."""

TOLD_SUFFIXES = {
    *(".7z", ".bz2", ".csv", ".db", ".dic", ".doc", ".docx", ".gif", ".gz", ".hdr", ".html", ".img", ".ini", ".jp2"),
    *(".json", ".log", ".md", ".mhd", ".nhdr", ".npy", ".npz", ".pdf", ".rar", ".raw", ".rtf", ".svg", ".tsv", ".txt"),
    *(".webp", ".xls", ".xlsx", ".xml", ".xz", ".yaml", ".yml", ".zraw", ".zst", "without suffix"),
}
"""Of files that are no scans; what else stands behind a dot may be a name."""

READER_VERSION = "3"
"""Raised when a reader takes what it refused before, or a kind is renamed; files known bad are then tried again."""


def without_suffix(path: str) -> str:
    """Return a path without the suffix of its file; .nii.gz and .tar.gz count as one."""
    double = next((suffix for suffix in (".nii.gz", ".tar.gz") if path.lower().endswith(suffix)), None)
    return path[: -len(double)] if double else posixpath.splitext(path)[0]


def suffix_of(path: str) -> str:
    """Return the suffix of a path, lower case, with its dot."""
    return PurePosixPath(path).suffix.lower()


def shown_suffix(path: str) -> str:
    """Return the suffix of a path as it may be said."""
    suffix = suffix_of(path) or "without suffix"
    return known_or_described(suffix, TOLD_SUFFIXES | KINDS.keys(), "suffix")


def kind_of(path: str) -> Kind | None:
    """Return what reads a file of that name; None where nothing does, or the name is a hidden one."""
    if path.endswith("/"):  # a folder of DICOM files
        return "dicom"
    name = PurePosixPath(path.lower())
    if name.name.startswith(".") or "__macosx" in name.parts:
        return None
    if name.name == "dicomdir":
        return None
    if name.name.endswith(".nii.gz"):
        return "nifti"
    suffix = name.suffix
    return "dicom" if not suffix or suffix[1:].isdecimal() else KINDS.get(suffix)


def has_telling_suffix(path: str) -> bool:
    """Say whether a file's name says what reads it; without a suffix, or with a number for one, DICOM is a guess."""
    suffix = suffix_of(path)
    return bool(suffix) and not suffix[1:].isdecimal()


def is_volume(path: str) -> bool:
    """Say whether a file of that name, or a folder of DICOM files, holds a whole volume."""
    return kind_of(path) in (*VOLUME_READERS, "dicom")


def read_volume(path: str, content: bytes) -> Volume:
    """Return the volume of a file, by the reader its suffix names.

    Raises:
        DataError: If no reader takes that suffix, or the reader refuses the content.
    """
    kind = kind_of(path)
    if not content:
        raise DataError("empty_file", "File has 0 bytes; a volume was expected. Upload it again.")
    if kind not in VOLUME_READERS:
        raise DataError("unsupported_format", f"Files of type {shown_suffix(path)} hold no volume that is read.")
    return VOLUME_READERS[kind](content)


def read_image(path: str, content: bytes) -> np.ndarray:
    """Return the grey values `(H, W)` of a slice, by the reader its suffix names.

    Raises:
        DataError: If no reader takes that suffix, or the reader refuses the content.
    """
    return _reader(READERS, path)(content)


def read_labels(path: str, content: bytes) -> np.ndarray:
    """Return the stored values `(H, W)` of a mask, by the reader its suffix names.

    Raises:
        DataError: If no reader takes that suffix, or the reader refuses the content.
    """
    return _reader(LABEL_READERS, path)(content)


def _reader(registry: dict[str, Callable[[bytes], np.ndarray]], path: str) -> Callable[[bytes], np.ndarray]:
    suffix = suffix_of(path)
    if suffix not in registry:
        raise DataError(
            "unsupported_format",
            f"Files of type {shown_suffix(path)} are not read; known: {', '.join(registry)}.",
        )
    return registry[suffix]
