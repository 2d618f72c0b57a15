"""Seekable file over byte ranges of an object, for archive libraries."""

import io
from collections.abc import Callable

from tasks.core.errors import StorageError

READ_AHEAD_BYTES = 256 << 10

ReadRange = Callable[[int, int], bytes]
"""Function that reads a range, by offset and number of bytes."""


class _Ranges(io.RawIOBase):
    """Reader of ranges of an object; each range is retried like any other request.

    Attributes:
        failure: Last fault of the store that remained after retries.
    """

    def __init__(self, read: ReadRange, size_bytes: int) -> None:
        self._read, self._size, self._at = read, size_bytes, 0
        self.failure: StorageError | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a buffer, as io documents it
        """Fill a buffer with the next bytes and return their number."""
        n = min(len(buffer), self._size - self._at)
        if n <= 0:
            return 0
        try:
            found = self._read(self._at, n)
        except StorageError as err:
            self.failure = err  # kept, because indexed_gzip swallows it
            raise
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def open_ranges(read: ReadRange, size_bytes: int, *, read_ahead_bytes: int = READ_AHEAD_BYTES) -> io.BufferedReader:
    """Return an object as a seekable file, which is read lazily.

    Args:
        read: Function that reads a range of the object.
        size_bytes: Size, as listed.
        read_ahead_bytes: Least number of bytes per read.
    """
    return io.BufferedReader(_Ranges(read, size_bytes), read_ahead_bytes)
