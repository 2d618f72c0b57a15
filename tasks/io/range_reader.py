"""An object of the store as a file that is read here and there: what archive libraries want."""

import io
from collections.abc import Callable

from tasks.core.errors import StorageError

READ_AHEAD_BYTES = 256 << 10

ReadRange = Callable[[int, int], bytes]
"""From where, and how many bytes."""


class _Ranges(io.RawIOBase):
    """Reads ranges of an object; every one is tried again like any other request.

    Attributes:
        failure: The last fault of the store that did not pass.
    """

    def __init__(self, read: ReadRange, size_bytes: int) -> None:
        self._read, self._size, self._at = read, size_bytes, 0
        self.failure: StorageError | None = None

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place, and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a buffer, as io documents it
        """Fill a buffer with what comes next, and return how many bytes that was."""
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
    """Return an object as a seekable file; nothing is read before it is asked for.

    Args:
        read: Reads a range of the object.
        size_bytes: Its size, as listed.
        read_ahead_bytes: Least that is read at once.
    """
    return io.BufferedReader(_Ranges(read, size_bytes), read_ahead_bytes)
