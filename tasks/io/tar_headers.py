"""Bounded reading of tar headers: `tarfile` trusts the sizes and numbers in extended headers."""

import re
import tarfile
from collections.abc import Iterator
from typing import Final

from tasks.core.errors import DataError

MAX_EXTENDED_BYTES: Final = 1 << 20
"""Largest extended header, and all global ones together; a path has at most 4,096 bytes (Linux, PATH_MAX)."""

MAX_CHAINED: Final = 16
"""Largest number of consecutive extended headers: a member has at most a long name, a long link and a pax header."""

MAX_SPARSE_BLOCKS: Final = 4096
MAX_DIGITS: Final = 1024
_PAX: Final = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
_EXTENDED: Final = _PAX | {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
_LONG_NUMBER: Final = re.compile(rb"\d{%d}" % (MAX_DIGITS + 1))
"""Run of digits for which tarfile's search for «digits, a space, hdrcharset» would take quadratic time."""


class BoundedTarInfo(tarfile.TarInfo):
    """Tar header within bounds; `tarfile` lets subclasses override `_proc_member` and what it calls (by its comments).

    Python 3.11.7, `tarfile.py`: `_proc_pax`, `_proc_gnulong` read all that a header claims, and call themselves for the
    header behind; `_proc_sparse`, `_proc_gnusparse_10` read maps of any length.
    """

    def _proc_member(self, tar: "BoundedTar") -> tarfile.TarInfo:
        if self.size < 0:
            raise _beyond("a header claims a negative size")
        if self.type not in _EXTENDED:
            tar.n_chained = 0
            return self._read(tar)
        tar.n_chained += 1
        tar.n_global_bytes += self.size if self.type == tarfile.XGLTYPE else 0
        if tar.n_chained > MAX_CHAINED:
            raise _beyond(f"more than {MAX_CHAINED} extended headers stand one behind the other")
        if max(self.size, tar.n_global_bytes) > MAX_EXTENDED_BYTES:
            raise _beyond(f"extended headers claim {max(self.size, tar.n_global_bytes)} bytes")
        if self.type in _PAX:
            start = tar.fileobj.tell()
            if _LONG_NUMBER.search(tar.fileobj.read(self.size)):
                raise _beyond(f"an extended header holds a number of more than {MAX_DIGITS} digits")
            tar.fileobj.seek(start)
        return self._read(tar)

    def _read(self, tar: "BoundedTar") -> tarfile.TarInfo:
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]  # not in typeshed, as the rest here
        return found

    def _proc_sparse(self, tar: "BoundedTar") -> tarfile.TarInfo:
        """Skip the map of a sparse member, which is not read."""
        is_extended = self._sparse_structs[1]  # type: ignore[attr-defined]
        for _ in range(MAX_SPARSE_BLOCKS):
            if not is_extended:
                break
            block = tar.fileobj.read(tarfile.BLOCKSIZE)
            if len(block) < tarfile.BLOCKSIZE:
                raise tarfile.ReadError("unexpected end of data")
            is_extended = bool(block[504])  # GNU tar manual, "Storing Sparse Files": isextended of an extension block
        else:
            raise _beyond(f"a sparse member has a map of more than {MAX_SPARSE_BLOCKS} blocks")
        self.sparse = ()  # type: ignore[assignment]
        self.offset_data = tar.fileobj.tell()
        tar.offset = self.offset_data + self._block(self.size)  # type: ignore[attr-defined]
        return self

    def _proc_gnusparse_10(self, member: tarfile.TarInfo, _: object, __: object) -> None:
        """Mark a sparse member of pax format 1.0; its map, of any length, is in its data and not read."""
        member.sparse = ()  # type: ignore[assignment]


class BoundedTar(tarfile.TarFile):
    """Tar that is read from its start, one member at a time, within bounds."""

    tarinfo = BoundedTarInfo
    n_chained = 0
    n_global_bytes = 0

    def members_once(self) -> Iterator[tarfile.TarInfo]:
        """Yield the headers of members without keeping them, unlike a `TarFile`.

        Raises:
            DataError: `corrupt_archive`, if a header goes beyond the bounds.
            tarfile.TarError: If a header is damaged.
        """
        for info in self:
            self.members: list[tarfile.TarInfo] = []
            if info.size < 0:  # the next header would be looked for further and further back
                raise _beyond("a member claims a negative size")
            yield info


def _beyond(what: str) -> DataError:
    return DataError("corrupt_archive", f"The archive is damaged or hostile: {what}. Pack it anew.")
