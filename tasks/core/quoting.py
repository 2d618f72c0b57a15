"""Text of files from outside as it may be said: a value that is known as it is, any other by its kind and length.

A header's text may be a patient's name, or markup for whoever opens a report.
"""

from collections.abc import Container
from typing import Final

from tasks.core.plural import counted

SHOWN_SUFFIXES: Final = {
    *(".7z", ".bz2", ".csv", ".db", ".dic", ".doc", ".docx", ".gif", ".gz", ".hdr", ".html", ".img", ".ini", ".jp2"),
    *(".json", ".log", ".md", ".mhd", ".nhdr", ".npy", ".npz", ".pdf", ".rar", ".raw", ".rtf", ".svg", ".tar.gz"),
    *(".tsv", ".txt", ".webp", ".xls", ".xlsx", ".xml", ".xz", ".yaml", ".yml", ".zraw", ".zst", "without suffix"),
}
"""Of files that are no scans; what else stands behind a dot may be a name."""


def known_or_described(value: str, known: Container[str], kind: str) -> str:
    """Return a value that is known; any other as `an unknown <kind> of 63 characters`, an empty one as `missing`.

    Args:
        value: Text of a foreign file.
        known: What may be repeated.
        kind: What the value is.
    """
    if not value:
        return "missing"
    return value if value in known else f"an unknown {kind} of {counted(len(value), 'character')}"
