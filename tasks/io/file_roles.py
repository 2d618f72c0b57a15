"""Role of a file in a listing, by its name and size alone; nothing is opened here."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from tasks.core.errors import ErrorCode
from tasks.io.formats import FORMATS, KINDS, suffix_of, without_suffix
from tasks.io.formats.format import Kind
from tasks.io.formats.raster import RASTER
from tasks.io.other_files import HIDDEN, MARKER, MIN_SCAN_BYTES, NO_SCANS, kind_of_other
from tasks.io.packings import SHOWN_PACKINGS

_AS_ARCHIVE: Final = f"Send it as one of {SHOWN_PACKINGS}."
_AS_SLICE: Final = "Send PNG, JPEG or TIFF."
_AS_VOLUME: Final = "Send NIfTI or DICOM."
_WITH_HEADER: Final = "Its header is not beside it; send the .mhd, .nhdr or .hdr of the same name with it."
UNREAD: Final = {
    **dict.fromkeys((".7z", ".rar", ".zst", ".lz4", ".lzma", ".z", ".cab", ".iso"), _AS_ARCHIVE),
    **dict.fromkeys((".gz", ".bz2", ".xz"), "Unpack it first."),
    **dict.fromkeys((".webp", ".gif", ".heic", ".avif", ".jp2", ".j2k", ".jxl", ".psd"), _AS_SLICE),
    **dict.fromkeys(
        (".npy", ".npz", ".mat", ".h5", ".hdf5", ".mnc", ".mgz", ".mgh", ".vtk", ".vti", ".gipl"), _AS_VOLUME
    ),
    **dict.fromkeys((".raw", ".zraw"), _WITH_HEADER),
}
"""What to do about files that may hold a scan in a format that is not read, by suffix."""

DATA_SUFFIXES: Final = {suffix: data for found in FORMATS.values() for suffix, data in found.data_suffixes.items()}
"""Suffixes of the files that hold the voxels of a header, by the suffix of the header."""

DICOMDIR: Final = "dicomdir"
_HEADER_SUFFIXES: Final = tuple(DATA_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Role:
    """Role of a file.

    Attributes:
        kind: Its format; `dicom` also where only the content can tell. None if it is no scan.
        ignored: Kind under which it is counted, if it is no scan.
        refused: Reason of its rejection, if its format is known and not read.
    """

    kind: Kind | None = None
    ignored: str = ""
    refused: tuple[ErrorCode, str] | None = None


def role_of(path: str, size_bytes: int) -> Role:
    """Return the role of a file; a data file beside its header is not asked for (`data_file_of`)."""
    other, suffix = kind_of_other(path, size_bytes), suffix_of(path)
    if other == HIDDEN:
        return Role(ignored=HIDDEN)
    if suffix in KINDS:
        return Role(kind=KINDS[suffix])
    if other in NO_SCANS or size_bytes < MIN_SCAN_BYTES:
        return Role(ignored=other if other in NO_SCANS else MARKER)
    if suffix in UNREAD:
        return Role(refused=("unsupported_format", f"Files of type {suffix} are not read. {UNREAD[suffix]}"))
    return Role(kind="dicom")


def data_file_of(path: str, names: Collection[str]) -> str | None:
    """Return the file with the voxels of a header, of the same name in the same folder; None if there is none.

    Args:
        path: Path of the header.
        names: Paths of all files.
    """
    stem = without_suffix(path)
    suffixes = DATA_SUFFIXES.get(suffix_of(path), ())
    candidates = [stem + suffix for known in suffixes for suffix in (known, known.upper())]
    return next((name for name in candidates if name in names), None)


def pictures_on_discs(paths: Collection[str], directories: Collection[str]) -> set[str]:
    """Return the pictures in folder trees with a DICOMDIR at their top: logos and thumbnails of a viewer.

    Args:
        paths: Paths of all files.
        directories: Paths of files that are large enough for a DICOMDIR.
    """
    tops = {path[: -len(DICOMDIR)] for path in directories if f"/{path.lower()}".endswith(f"/{DICOMDIR}")}
    if not tops:
        return set()
    return {path for path in paths if is_picture(path) and path.startswith(tuple(tops))}


def is_picture(path: str) -> bool:
    """Return whether a file of that name is a picture, in a format that is read or not."""
    suffix = suffix_of(path)
    return KINDS.get(suffix) == RASTER.name or UNREAD.get(suffix) == _AS_SLICE


def may_be_detached(path: str) -> bool:
    """Return whether a file of that name is a header whose voxels lie in another file."""
    return path.lower().endswith(_HEADER_SUFFIXES)
