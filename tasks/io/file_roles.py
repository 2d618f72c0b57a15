"""Role of a file in a listing, by its name and size alone; nothing is opened here."""

from collections.abc import Collection, Mapping
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
    """Return the role of a file; a data file beside its header is not asked for (`data_files`)."""
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


def data_files(paths: Collection[str]) -> dict[str, str]:
    """Return by each header the file with its voxels: of the same name in the same folder, if it is there."""
    found = {}
    for path in paths:
        if path.lower().endswith(_HEADER_SUFFIXES):
            stem, known = without_suffix(path), DATA_SUFFIXES[suffix_of(path)]
            candidates = (stem + spelled for suffix in known for spelled in (suffix, suffix.upper()))
            data = next((name for name in candidates if name in paths), None)
            if data:
                found[path] = data
    return found


def pictures_on_discs(sizes: Mapping[str, int]) -> set[str]:
    """Return the pictures in folder trees with a DICOMDIR at their top: logos and thumbnails of a viewer.

    Args:
        sizes: Bytes of all files, by path; an empty DICOMDIR is none.
    """
    tops = tuple(
        path[: -len(DICOMDIR)]
        for path, size_bytes in sizes.items()
        if size_bytes >= MIN_SCAN_BYTES and f"/{path.lower()}".endswith(f"/{DICOMDIR}")
    )
    return {path for path in sizes if is_picture(path) and path.startswith(tops)} if tops else set()


def is_picture(path: str) -> bool:
    """Return whether a file of that name is a picture, in a format that is read or not."""
    suffix = suffix_of(path)
    return KINDS.get(suffix) == RASTER.name or UNREAD.get(suffix) == _AS_SLICE
