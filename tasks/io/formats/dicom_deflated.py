"""Deflated DICOM, inflated to what its header needs: pydicom would inflate all of it, also to read the header."""

import struct
import zlib
from typing import Final

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from tasks.core.errors import DataError

META_AT: Final = 132
"""Start of the meta header, behind preamble and magic (PS3.10, 7.1)."""

_GROUP_LENGTH: Final = struct.pack("<HH2sH", 2, 0, b"UL", 4)
_DEFLATED: Final = str(DeflatedExplicitVRLittleEndian).encode()
_PLAIN: Final = str(ExplicitVRLittleEndian).encode().ljust(len(_DEFLATED), b"\0")
_RAW_DEFLATE: Final = -zlib.MAX_WBITS


def is_deflated(content: bytes) -> bool:
    """Return whether the first bytes of a file are those of a deflated one."""
    return _DEFLATED in content[META_AT : _body_at(content)]


def inflated(content: bytes, max_bytes: int) -> tuple[bytes, bool]:
    """Return a deflated file as an explicit little-endian one, with at most some bytes of its data set.

    Args:
        content: The file, or its first bytes.
        max_bytes: Largest number of bytes to inflate.

    Returns:
        The file, and whether the data set is whole.

    Raises:
        DataError: `unreadable`.
    """
    body_at = _body_at(content)
    meta = content[META_AT:body_at].replace(_DEFLATED, _PLAIN)
    stream = zlib.decompressobj(_RAW_DEFLATE)
    try:
        body = stream.decompress(content[body_at:], max_bytes)
    except zlib.error as err:
        raise DataError("unreadable", "DICOM file is damaged: it does not inflate. Upload it again.") from err
    return content[:META_AT] + meta + body, stream.eof


def _body_at(content: bytes) -> int:
    """Return where the data set starts: behind the meta header, whose length is its first element (PS3.10, 7.1)."""
    start = META_AT + len(_GROUP_LENGTH)
    if content[META_AT:start] != _GROUP_LENGTH or len(content) < start + 4:
        return META_AT
    [length] = struct.unpack_from("<I", content, start)
    return min(start + 4 + int(length), len(content))
