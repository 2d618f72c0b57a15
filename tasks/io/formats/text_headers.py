"""Text headers of MetaImage and NRRD files: lines and values, within bounds and never quoted."""

import re
from collections.abc import Callable
from typing import Final

from tasks.core.errors import DataError

HEADER_BYTES: Final = 64 << 10
"""Largest header: a plain one has half a KiB, one with metadata of a DICOM series some KiB."""

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")
"""Control characters, except tab, line ends and escape, which metadata from DICOM may hold."""

_NUMBER: Final = re.compile(r"[+-]?(\d{1,20}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)
_MAX_NUMBER: Final = 1e15
"""Largest number: no side, size or millimetre is larger, and products of four are finite."""

_FLAGS: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def header_lines(content: bytes, is_last: Callable[[str], bool]) -> tuple[list[str], int]:
    """Return the lines of a header and the offset after it.

    Lines end in LF or CR LF. Bytes that are not ASCII become U+FFFD: they can only be metadata, which is not used.

    Args:
        content: The whole file.
        is_last: Function that returns whether a line ends the header.

    Raises:
        DataError: `unreadable` if no line ends it, or it holds control characters.
    """
    lines: list[str] = []
    start = 0
    while (end := content.find(b"\n", start, HEADER_BYTES)) >= 0:
        line = content[start:end].removesuffix(b"\r")
        if _CONTROL.search(line):
            raise DataError("unreadable", "The header holds control characters; text was expected. Upload it again.")
        lines.append(line.decode("ascii", "replace"))
        start = end + 1
        if is_last(lines[-1]):
            return lines, start
    n_bytes = min(len(content), HEADER_BYTES)
    raise DataError("unreadable", f"{n_bytes} bytes hold no whole header; one was expected. Upload it again.")


def add_field(fields: dict[str, str], name: str, value: str) -> None:
    """Add a field to those of a header.

    Raises:
        DataError: `unreadable` if it exists already, or its value continues after a lone CR, which is ambiguous.
    """
    if name in fields:
        raise DataError("unreadable", f"The header gives {name} twice; once was expected. Export the scan again.")
    if "\r" in value:
        raise DataError("unreadable", f"{name} of the header takes several lines. Export the scan again.")
    fields[name] = value


def numbers(fields: dict[str, str], name: str, n_expected: int) -> list[float]:
    """Return the numbers of a field, separated by blanks.

    Raises:
        DataError: `unreadable` if the field is missing, or holds anything else than that many finite numbers.
    """
    words = fields.get(name, "").split()
    if len(words) != n_expected or not all(map(_NUMBER.fullmatch, words)):
        raise DataError("unreadable", f"{name} of the header is not {n_expected} numbers. Export the scan again.")
    found = [float(word) for word in words]
    if max(map(abs, found)) > _MAX_NUMBER:
        raise DataError("unreadable", f"{name} of the header goes beyond {_MAX_NUMBER:g}. Export the scan again.")
    return found


def whole_numbers(fields: dict[str, str], name: str, n_expected: int) -> list[int]:
    """Return the whole numbers of a field, separated by blanks.

    Raises:
        DataError: `unreadable` if the field is missing, or holds anything else than that many whole numbers.
    """
    found = numbers(fields, name, n_expected)
    if not all(value.is_integer() for value in found):
        raise DataError("unreadable", f"{name} of the header is not {n_expected} whole numbers. Export the scan again.")
    return [int(value) for value in found]


def flag(fields: dict[str, str], name: str, *, default: bool) -> bool:
    """Return a field that is true or false.

    Raises:
        DataError: `unreadable` if it is neither.
    """
    value = fields.get(name, str(default)).lower()
    if value not in _FLAGS:
        raise DataError("unreadable", f"{name} of the header is neither True nor False. Export the scan again.")
    return _FLAGS[value]
