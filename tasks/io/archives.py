"""Archives of many scans, listed and read in place: never unpacked to disk, never whole in memory.

A tar is listed by its headers, a zip by its directory. A gzipped tar gets seek points while it is read once; they are
kept, so that any member can be read later without unpacking all before it. Nothing is ever written under a member's
name; names that point outside are still refused, because they indicate a broken or hostile archive.
"""

import bz2
import contextlib
import functools
import hashlib
import io
import lzma
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from _compression import DecompressReader
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from indexed_gzip import IndexedGzipFile, ZranError

from tasks.core.errors import ConfigError, DataError, ErrorCode, StorageError
from tasks.io import storage
from tasks.io.file_names import member_refused, shown, told_apart
from tasks.io.packings import Packing
from tasks.io.pseudonyms import Seal
from tasks.io.range_reader import READ_AHEAD_BYTES, open_ranges
from tasks.io.tar_headers import BoundedTar
from tasks.io.zip_headers import lzma_dictionary_bytes

MAX_RATIO = 200
BOMB_FROM_BYTES = 64 << 20
"""A member of this size that unpacks to more than `MAX_RATIO` times its packed size is a bomb; CT has below 10."""

MAX_UNPACKED_BYTES = 1 << 40
MAX_MEMBERS = 2_000_000
_TOO_MUCH = f"The archive holds more than {MAX_MEMBERS} files, or than 1 TiB; split it."
HEADER_READ_BYTES = 64 << 10
SEEK_POINT_BYTES = 4 << 20
MAX_XZ_BYTES = 256 << 20
"""Memory to unpack xz and LZMA: `xz -9` needs 65 MiB."""
DEFLATE64 = 9
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
N_OPEN = 4
"""Number of archives a worker keeps open, because opening one reads its directory."""


DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, ZranError, EOFError, NotImplementedError),
    *(lzma.LZMAError, struct.error, UnicodeDecodeError, LookupError, ValueError, OverflowError, OSError),
)
"""Errors of archive libraries on damaged bytes; the second row was found by fuzzing (`make soak`)."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Archive in the store.

    Attributes:
        uri: URI of the object.
        size_bytes: Size, as listed.
        version: Version, which changes with the content.
        packing: Packing, by suffix.
        seek_points_uri: URI of the seek points of a gzipped tar.
    """

    uri: str
    size_bytes: int
    version: str
    packing: Packing
    seek_points_uri: str


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """File in an archive.

    Attributes:
        name: Path in the archive, as stored.
        size_bytes: Unpacked size.
        offset: Offset of its bytes in the unpacked tar; 0 in a zip.
        refused: Reason not to read it.
        identity: What tells it from members whose names look alike where they are shown; empty if the name does.
    """

    name: str
    size_bytes: int
    offset: int = 0
    refused: tuple[ErrorCode, str] | None = None
    identity: str = ""

    @property
    def path(self) -> str:
        r"""Normalised name: `./a/b`, `a//b` and `a\b` are `a/b`."""
        return "/".join(part for part in self.name.replace("\\", "/").split("/") if part not in ("", "."))


def is_sequential(archive: Archive) -> bool:
    """Return whether an archive is unpacked from its start, so that its members are best read in their order."""
    return archive.packing in _UNPACKERS


def list_members(archive: Archive) -> Iterator[ArchiveMember]:
    """Yield the files of an archive in stored order, without folders.

    Raises:
        DataError: `corrupt_archive`, `truncated_archive` or `archive_bomb`; files yielded before are good.
        StorageError: If the archive is gone or the store does not answer.
    """
    file = _open(archive, read_ahead_bytes=HEADER_READ_BYTES)
    with _errors(file):
        if archive.packing == "zip":
            yield from _zip_members(archive)
        elif archive.packing == "tar":
            yield from _tar_members(file, n_bytes=archive.size_bytes)
        elif archive.packing in _UNPACKERS:
            yield from _tar_members(_UNPACKERS[archive.packing](file), packed_bytes=archive.size_bytes)
        else:
            with IndexedGzipFile(fileobj=file, spacing=SEEK_POINT_BYTES) as unpacked:
                try:
                    yield from _tar_members(unpacked, packed_bytes=archive.size_bytes)
                    unpacked.build_full_index()
                finally:  # if it is damaged further on, members before can still be read
                    points = io.BytesIO()
                    unpacked.export_index(fileobj=points)
                    storage.publish(archive.seek_points_uri, _seal_of(archive).close(points.getvalue()))


def read_member(archive: Archive, member: ArchiveMember, n_bytes: int | None = None) -> bytes:
    """Return the bytes of a member, or the first of them.

    Raises:
        DataError: `corrupt_archive` or `truncated_archive`.
        StorageError: If the archive is gone or the store does not answer.
    """
    size = member.size_bytes if n_bytes is None else min(n_bytes, member.size_bytes)
    file = _open_gzip(archive)[2] if archive.packing == "tgz" else None
    if archive.packing in _UNPACKERS:
        file = _open_stream(archive)[2]
    with _errors(file):
        if archive.packing == "tar":
            found = storage.read_range(archive.uri, member.offset, size)
        elif archive.packing == "zip":
            opened, lock = _open_zip(archive)
            with lock, opened.open(member.name) as opened_member:
                found = opened_member.read(size)
        else:
            unpacked, lock, _ = _open_stream(archive) if archive.packing in _UNPACKERS else _open_gzip(archive)
            with lock:
                unpacked.seek(member.offset)
                found = unpacked.read(size)
    if len(found) < size:
        raise DataError("truncated_archive", f"The archive ends {size - len(found)} bytes before this member does.")
    return bytes(found)


def _zip_members(archive: Archive) -> Iterator[ArchiveMember]:
    opened, _ = _open_zip(archive)
    if len(opened.infolist()) > MAX_MEMBERS or sum(info.file_size for info in opened.infolist()) > MAX_UNPACKED_BYTES:
        raise DataError("archive_bomb", _TOO_MUCH)
    for info in opened.infolist():
        if info.is_dir():
            continue
        refused = member_refused(info.filename)
        if stat.S_ISLNK(info.external_attr >> 16):
            refused = "unsafe_member", "The member is a link; send the file itself."
        elif info.compress_type not in _ZIP_METHODS:
            method = "Deflate64" if info.compress_type == DEFLATE64 else f"method {info.compress_type}"
            refused = "unsupported_format", f"The member is packed by {method}, which is not read. Pack it by Deflate."
        elif info.flag_bits & 0x1:
            refused = "password_protected", "The member is encrypted; send the archive without a password."
        elif info.compress_type == zipfile.ZIP_LZMA and _lzma_bytes(archive, info) > MAX_XZ_BYTES:
            refused = "archive_bomb", f"To unpack it needs more than {MAX_XZ_BYTES >> 20} MiB. Pack it by Deflate."
        elif info.file_size > BOMB_FROM_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1):
            refused = "archive_bomb", _bomb(info.file_size, info.compress_size)
        name = info.filename if refused is None else shown(info.filename)
        yield ArchiveMember(name, info.file_size, refused=refused, identity=told_apart(info.filename))


def _lzma_bytes(archive: Archive, info: zipfile.ZipInfo) -> int:
    return lzma_dictionary_bytes(functools.partial(storage.read_range, archive.uri), info)


def _tar_members(
    file: io.BufferedIOBase, *, n_bytes: int | None = None, packed_bytes: int | None = None
) -> Iterator[ArchiveMember]:
    with BoundedTar.open(fileobj=file, mode="r:", errors="surrogateescape") as archive:
        for number, info in enumerate(archive.members_once()):
            end = info.offset_data + info.size
            if number > MAX_MEMBERS or end > MAX_UNPACKED_BYTES:
                raise DataError("archive_bomb", _TOO_MUCH)
            if packed_bytes and end > 16 * BOMB_FROM_BYTES and end > MAX_RATIO * packed_bytes:
                raise DataError("archive_bomb", _bomb(end, packed_bytes))
            if info.isdir():
                continue
            refused = member_refused(info.name)
            if not info.isreg():
                refused = "unsafe_member", "The member is a link or a device; send the file itself."
            elif n_bytes is not None and end > n_bytes:
                refused = "truncated_archive", f"The archive ends {end - n_bytes} bytes before this member does."
            elif info.issparse():
                refused = "unsafe_member", "The member is sparse: its bytes do not stand as they are. Pack it without."
            yield ArchiveMember(shown(info.name), info.size, info.offset_data, refused, told_apart(info.name))
        _check_end(file, archive.offset)


def _check_end(file: io.BufferedIOBase, offset: int) -> None:
    """Raise unless a tar ends where reading stopped; a damaged or truncated header ends it silently."""
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise DataError("truncated_archive", "The archive ends without its end mark: it is cut short. Upload it again.")
    if block.strip(b"\0"):
        raise DataError("corrupt_archive", "The archive is damaged: a header in it is none. Upload it again.")


def _bomb(n_unpacked: int, n_packed: int) -> str:
    return (
        f"It unpacks from {n_packed} to {n_unpacked} bytes; more than {MAX_RATIO} times is taken for an attack. "
        "Send it less compressed if it is meant."
    )


def _open(archive: Archive, *, read_ahead_bytes: int = READ_AHEAD_BYTES) -> io.BufferedReader:
    read = functools.partial(storage.read_range, archive.uri)
    return open_ranges(read, archive.size_bytes, read_ahead_bytes=read_ahead_bytes)


@functools.lru_cache(N_OPEN)
def _open_zip(archive: Archive) -> tuple[zipfile.ZipFile, threading.Lock]:
    return zipfile.ZipFile(_open(archive)), threading.Lock()


def _open_xz(file: io.BufferedReader) -> io.BufferedReader:
    """Return the content of an xz file; `lzma.LZMAFile` would let a header claim gigabytes for its dictionary."""
    return io.BufferedReader(
        DecompressReader(file, lzma.LZMADecompressor, trailing_error=lzma.LZMAError, memlimit=MAX_XZ_BYTES)
    )


_UNPACKERS: dict[Packing, Callable[[io.BufferedReader], io.BufferedIOBase]] = {"tbz": bz2.BZ2File, "txz": _open_xz}
"""Tars that are unpacked from their start to read a member; going back starts anew."""


@functools.lru_cache(N_OPEN)
def _open_stream(archive: Archive) -> tuple[io.BufferedIOBase, threading.Lock, io.BufferedReader]:
    file = _open(archive)
    return _UNPACKERS[archive.packing](file), threading.Lock(), file


@functools.lru_cache(N_OPEN)
def _open_gzip(archive: Archive) -> tuple[IndexedGzipFile, threading.Lock, io.BufferedReader]:
    file = _open(archive)
    unpacked = IndexedGzipFile(fileobj=file, spacing=SEEK_POINT_BYTES)
    try:
        seek_points = _seal_of(archive).open(storage.read_bytes(archive.seek_points_uri))
    except ConfigError as err:  # they belong to other content
        raise StorageError("The archive changed after it was opened.", can_pass=False, code="changed") from err
    unpacked.import_index(fileobj=io.BytesIO(seek_points))
    return unpacked, threading.Lock(), file


def _seal_of(archive: Archive) -> Seal:
    """Return the seal of the seek points, which hold parts of the archive; its key follows from the archive itself."""
    head = storage.read_range(archive.uri, 0, HEADER_READ_BYTES)
    return Seal(hashlib.sha256(head).digest())


@contextlib.contextmanager
def _errors(file: io.BufferedReader | None) -> Iterator[None]:
    """Raise errors of archive libraries as a `DataError`, or as the `StorageError` that caused them."""
    try:
        yield
    except DAMAGE as err:
        failure = getattr(file.raw, "failure", None) if file else None
        if failure:
            raise failure from err
        if isinstance(err, tarfile.ReadError) and "unexpected end" in str(err):
            raise DataError("truncated_archive", "The archive is cut short. Upload it again.") from err
        raise _corrupt(err) from err


def _corrupt(err: Exception) -> DataError:
    """Return the error of a damaged archive, without the library's message, which may hold member names."""
    return DataError("corrupt_archive", f"The archive is damaged ({type(err).__name__}). Upload it again.")
