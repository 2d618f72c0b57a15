"""Headers of zip members that `zipfile` does not show."""

import struct
import zipfile
from collections.abc import Callable
from typing import Final

_LOCAL_HEADER: Final = 30
_NAME_LENGTHS_AT: Final = 26
_LZMA_HEADER: Final = struct.Struct("<2xHxI")
"""Version, size of the properties, and of these the byte of lc, lp and pb and the size of the dictionary. Source:
APPNOTE.TXT 6.3.10, 5.8.8."""


def lzma_dictionary_bytes(read: Callable[[int, int], bytes], info: zipfile.ZipInfo) -> int:
    """Return the size of the dictionary that unpacking a member by LZMA allocates, whatever the member's size.

    Args:
        read: Function from offset and length to bytes of the archive.
        info: The member.

    Raises:
        struct.error: If the archive ends there.
    """
    lengths = struct.unpack("<HH", read(info.header_offset + _NAME_LENGTHS_AT, 4))
    start = info.header_offset + _LOCAL_HEADER + sum(lengths)
    return int(_LZMA_HEADER.unpack(read(start, _LZMA_HEADER.size))[1])
