"""Quotation of text from files: known values as they are, any other by kind and length.

Text in a header may be a patient's name, or markup that a report would show.
"""

from collections.abc import Container
from typing import Final

from tasks.core.plural import counted

SHOWN_SUFFIXES: Final = {
    *(".7z", ".bz2", ".csv", ".db", ".dic", ".doc", ".docx", ".gif", ".gz", ".hdr", ".html", ".img", ".ini", ".jp2"),
    *(".json", ".log", ".md", ".mhd", ".nhdr", ".npy", ".npz", ".pdf", ".rar", ".raw", ".rtf", ".svg", ".tar.gz"),
    *(".tsv", ".txt", ".webp", ".xls", ".xlsx", ".xml", ".xz", ".yaml", ".yml", ".zraw", ".zst", "without suffix"),
}
"""Suffixes that may be quoted, of files that are no scans; any other text after a dot may be a name."""


def known_or_described(value: str, known: Container[str], kind: str) -> str:
    """Return a known value; any other as `an unknown <kind> of 63 characters`, an empty one as `missing`.

    Args:
        value: Text from a file.
        known: Values that may be quoted.
        kind: Noun for the value.
    """
    if not value:
        return "missing"
    return value if value in known else f"an unknown {kind} of {counted(len(value), 'character')}"
