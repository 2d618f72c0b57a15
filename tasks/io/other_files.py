"""Files that are no scans: how they are counted, and whether one could be a chest CT."""

import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from tasks.core.plural import counted
from tasks.core.quoting import SHOWN_SUFFIXES

MARKER: Final = "marker"
YOUNG: Final = "young file"
HIDDEN: Final = "system file"
TEXT: Final = "text"
PICTURE: Final = "picture beside DICOM"
BARE: Final = "without suffix"
OTHER: Final = "other file"
_PLURALS: Final = {
    OTHER: "other files",
    MARKER: "markers",
    YOUNG: "young files",
    HIDDEN: "system files",
    TEXT: "texts",
    PICTURE: "pictures beside DICOM",
}

MIN_SCAN_BYTES: Final = 132
"""Preamble and magic of an empty DICOM file (PS3.10, 7.1); smaller files without a suffix are markers."""

NO_SCANS: Final = {
    *(MARKER, HIDDEN, PICTURE, TEXT, YOUNG),
    *(".csv", ".db", ".doc", ".docx", ".htm", ".html", ".ini", ".json", ".log", ".md", ".parquet", ".pdf", ".rtf"),
    *(".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml"),
    *(".cfg", ".complete", ".done", ".finished", ".lock", ".ok", ".ready", ".toml"),
    *(".bat", ".css", ".dll", ".exe", ".ico", ".inf", ".jar", ".js", ".md5", ".py", ".sh", ".sha256", ".svg", ".url"),
}
"""Suffixes of documents, tables and other files beside scans on a CD."""

MAC_ICON: Final = "Icon\r"
"""File that macOS puts into folders with a picture of their own."""

_SYSTEM_FILES: Final = {"desktop.ini", "dicomdir", "dirfile", MAC_ICON.lower(), "thumbs.db"}


def kind_of_other(path: str, size_bytes: int) -> str:
    """Return the kind under which a file without a reader is counted: its suffix, or a substitute."""
    parts = path.lower().split("/")
    if parts[-1] in _SYSTEM_FILES or "__macosx" in parts or any(part.startswith(".") for part in parts):
        return HIDDEN
    suffix = posixpath.splitext(parts[-1])[1]
    if size_bytes < MIN_SCAN_BYTES and suffix not in NO_SCANS:
        return MARKER
    return suffix or BARE


def kind_unless_young(kind: str, *, is_young: bool) -> str:
    """Return the kind of a file that may still be uploading; the next run decides what it is."""
    return YOUNG if is_young and kind not in NO_SCANS else kind


def kind_of_stranger(path: str, head: bytes) -> str:
    """Return the kind of a file that could have been DICOM and is not; images contain zero bytes, text does not."""
    if b"\0" not in head:
        return TEXT
    return posixpath.splitext(path.lower())[1] or BARE


def n_possible_scans(counts: Mapping[str, int]) -> int:
    """Return the number of files that could be a chest CT in a format that is not read."""
    return sum(n for kind, n in counts.items() if kind not in NO_SCANS)


def shown(counts: Mapping[str, int]) -> str:
    """Return counts by kind; unknown suffixes may be names and are counted as other files."""
    summed: Counter[str] = Counter()
    for kind, n in counts.items():
        summed[kind if kind in NO_SCANS | SHOWN_SUFFIXES else OTHER] += n
    return ", ".join(counted(n, kind, _PLURALS.get(kind, kind)) for kind, n in sorted(summed.items()))


def warnings_of(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield a warning about files that are no scans, if there are any."""
    n = sum(counts.values())
    if n:
        what = f"{n} files are no scans and were left alone" if n > 1 else "1 file is no scan"
        yield f"{what}: {shown(counts)}."
