"""Registry of input formats. A new format is a module here with its `Format` at the end, and a line in `FORMATS`."""

import posixpath
from pathlib import PurePosixPath

import numpy as np

from tasks.core.errors import DataError
from tasks.core.quoting import SHOWN_SUFFIXES, known_or_described
from tasks.core.turns import STORED
from tasks.core.volumes import AxisOrder, Grid, Layout, Volume
from tasks.io.formats.dicom import DICOM
from tasks.io.formats.format import Format, Kind
from tasks.io.formats.metaimage import METAIMAGE
from tasks.io.formats.nifti import NIFTI
from tasks.io.formats.nrrd import NRRD
from tasks.io.formats.raster import RASTER
from tasks.io.packings import PACKINGS

FORMATS: dict[str, Format] = {
    found.name: found
    for found in (
        RASTER,
        DICOM,
        NIFTI,
        METAIMAGE,
        NRRD,
    )
}
"""Registry of input formats by name."""

STACK = "stack"

KINDS: dict[str, Kind] = {suffix: name for name, found in FORMATS.items() for suffix in found.suffixes}
"""Format by suffix; a file without a suffix, or with a number as suffix, may be DICOM."""

_DOUBLE_SUFFIXES = tuple(suffix for suffix in (*PACKINGS, *KINDS) if suffix.count(".") > 1)


def without_suffix(path: str) -> str:
    """Return a path without the suffix of its file; .nii.gz and .tar.gz count as one."""
    double = next((suffix for suffix in _DOUBLE_SUFFIXES if path.lower().endswith(suffix)), None)
    return path[: -len(double)] if double else posixpath.splitext(path)[0]


def suffix_of(path: str) -> str:
    """Return the suffix of a path, lower case, with its dot; .nii.gz and .tar.gz count as one."""
    name = path.lower().rpartition("/")[2]  # 100,000 of them are listed in a second; a PurePath would take five
    if name.endswith(_DOUBLE_SUFFIXES):
        return next(suffix for suffix in _DOUBLE_SUFFIXES if name.endswith(suffix))
    suffix = posixpath.splitext(name)[1]
    return suffix if suffix != "." else ""


def shown_suffix(path: str) -> str:
    """Return the suffix of a path as it may be quoted."""
    suffix = suffix_of(path) or "without suffix"
    return known_or_described(suffix, SHOWN_SUFFIXES | KINDS.keys(), "suffix")


def shown_formats() -> str:
    """Return all formats as text for messages: «slices (…) or volumes (…)»."""
    slices = ", ".join(found.shown for found in FORMATS.values() if found.layout == "slice")
    volumes = ", ".join(found.shown for found in FORMATS.values() if found.layout != "slice")
    return f"slices ({slices}) or volumes ({volumes})"


def kind_of(path: str) -> Kind | None:
    """Return the format of a file by its name; None without a reader, or for a hidden file."""
    if path.endswith("/"):  # a folder of DICOM files
        return "dicom"
    name = PurePosixPath(path.lower())
    if name.name.startswith(".") or "__macosx" in name.parts or name.name == "dicomdir":
        return None
    return KINDS.get(suffix_of(path)) if has_known_suffix(path) else "dicom"


def has_known_suffix(path: str) -> bool:
    """Return whether a file's suffix determines its format; without one, or with a number, DICOM is only a guess."""
    suffix = suffix_of(path)
    return bool(suffix) and not suffix[1:].isdecimal()


def layout_of(kind: Kind) -> Layout:
    """Return the layout of a format in files."""
    return "stack" if kind == STACK else FORMATS[kind].layout


def axis_order_of(kind: Kind) -> AxisOrder:
    """Return the axis order of masks of a format."""
    return "kji" if kind == STACK else FORMATS[kind].axis_order


def is_slice(path: str) -> bool:
    """Return whether a file of that name holds a slice."""
    kind = kind_of(path)
    return kind is not None and layout_of(kind) == "slice"


def is_volume(path: str) -> bool:
    """Return whether a file of that name, or a folder of DICOM files, holds a whole volume."""
    kind = kind_of(path)
    return kind is not None and layout_of(kind) in ("volume", "series")


def read_volume(path: str, content: bytes, data: tuple[str, bytes] | None = None) -> Volume:
    """Return the volume of a file, read by the format of its suffix.

    Args:
        path: Path of the file.
        content: The whole file.
        data: Name and content of the file beside it with its voxels, if it is only their header.

    Raises:
        DataError: If there is no reader for the suffix, or the reader rejects the content.
    """
    if not content:
        raise DataError("empty_file", "File has 0 bytes; a volume was expected. Upload it again.")
    found = _format_of(path)
    if found is None or found.read_volume is None:
        raise DataError("unsupported_format", f"Files of type {shown_suffix(path)} hold no volume that is read.")
    if data is not None and found.read_pair is not None:
        return found.read_pair(content, data[1], data[0])
    return found.read_volume(content)


def read_grid(path: str, content: bytes) -> Grid:
    """Return the grid of a file's volume, from its header alone if the format allows it.

    Raises:
        DataError: If there is no reader for the suffix, or the reader rejects the content.
    """
    found = _format_of(path)
    return found.read_grid(content) if found and found.read_grid and content else read_volume(path, content).grid


def read_image(path: str, content: bytes) -> np.ndarray:
    """Return the grey values `(H, W)` of a slice, read by the format of its suffix.

    Raises:
        DataError: If there is no reader for the suffix, or the reader rejects the content.
    """
    found = _format_of(path)
    if found is None or found.read_slice is None:
        raise _no_slice(path)
    return found.read_slice(content)


def read_orientation(path: str, content: bytes) -> int:
    """Return the orientation in which a slice is to be shown (`core.turns`).

    Raises:
        DataError: If the reader rejects the content.
    """
    found = _format_of(path)
    return found.read_orientation(content) if found and found.read_orientation else STORED


def read_labels(path: str, content: bytes) -> np.ndarray:
    """Return the stored values `(H, W)` of a mask, read by the format of its suffix.

    Raises:
        DataError: If there is no reader for the suffix, or the reader rejects the content.
    """
    found = _format_of(path)
    if found is None or found.read_labels is None:
        raise _no_slice(path)
    return found.read_labels(content)


def _format_of(path: str) -> Format | None:
    return FORMATS.get(KINDS.get(suffix_of(path), ""))


def _no_slice(path: str) -> DataError:
    known = ", ".join(suffix for suffix, name in KINDS.items() if FORMATS[name].layout == "slice")
    return DataError("unsupported_format", f"Files of type {shown_suffix(path)} are not read; known: {known}.")
