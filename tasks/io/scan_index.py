"""Index of a container: the scans of an archive, or of a folder of DICOM files, each with its files.

The index is kept beside the output, so that workers and later runs need not open the container again.
"""

from pydantic import Field

from tasks.core.addresses import shown_uri
from tasks.core.errors import DataError, StorageError
from tasks.core.record import Record
from tasks.core.scan_entries import ScanEntry, ScanFile
from tasks.io import storage
from tasks.io.archives import Archive, ArchiveMember, read_member
from tasks.io.formats.dicom import HEADER_BYTES, is_dicom, read_header
from tasks.io.sealed_file import SealedFile

MAX_FILE_BYTES = 2 << 30
"""Largest file that is read whole: 1,000 slices of 512x512 in float32 are 1 GiB."""


class ContainerIndex(Record):
    """Index of a container.

    Attributes:
        entries: Its scans.
        archive: The archive, if it is one.
        n_ignored: Number of files that are no scans, by suffix.
    """

    entries: tuple[ScanEntry, ...]
    archive: Archive | None = None
    n_ignored: dict[str, int] = Field(default_factory=dict)

    def read(self, file: ScanFile, n_bytes: int | None = None) -> bytes:
        """Return the bytes of a file of this container, or the first of them.

        Raises:
            DataError: If the archive is damaged.
            StorageError: If the object is gone or the store does not answer.
        """
        return read_file(self.archive, file, n_bytes)

    def read_head(self, file: ScanFile) -> bytes:
        """Return the first bytes of a DICOM file, with its whole header.

        Raises:
            DataError: If the file is damaged.
            StorageError: If the object is gone or the store does not answer.
        """
        return read_head(self.archive, file)


def write_index(kept: SealedFile, index: ContainerIndex) -> None:
    """Write an index.

    Raises:
        StorageError: If the store refuses or does not answer.
    """
    kept.write(index.model_dump_json().encode())


def read_index(kept: SealedFile) -> ContainerIndex:
    """Return a stored index.

    Raises:
        ConfigError: If it was encrypted with another key.
        StorageError: If it is gone, not whole, or the store does not answer.
    """
    try:
        return ContainerIndex.model_validate_json(kept.read())
    except ValueError as err:
        raise StorageError(
            f"The index {shown_uri(kept.uri)} is not whole; remove it and start again.", can_pass=False
        ) from err


def find_index(kept: SealedFile) -> ContainerIndex | None:
    """Return a stored index; None if it is gone or not whole, so that it is to be made again.

    Raises:
        ConfigError: If it was encrypted with another key.
        StorageError: If the store does not answer.
    """
    try:
        return read_index(kept)
    except StorageError as err:
        if err.can_pass:
            raise
        return None


def read_file(archive: Archive | None, file: ScanFile, n_bytes: int | None = None) -> bytes:
    """Return the bytes of a file, or the first of them.

    Raises:
        DataError: `empty_file`, `too_large`, or what is wrong with the archive.
        StorageError: If the object is gone or the store does not answer.
    """
    if not file.size_bytes:
        raise DataError("empty_file", "File has 0 bytes; a scan was expected. Upload it again.")
    if n_bytes is None and file.size_bytes > MAX_FILE_BYTES:
        raise DataError(
            "too_large", f"The file has {file.size_bytes >> 20} MiB; at most {MAX_FILE_BYTES >> 20} are read. Split it."
        )
    if archive:
        return read_member(archive, ArchiveMember(file.member, file.size_bytes, file.offset), n_bytes)
    if n_bytes is not None and n_bytes < file.size_bytes:
        return storage.read_range(file.uri, 0, n_bytes)
    return storage.read_bytes(file.uri, size_bytes=file.size_bytes)


def read_head(archive: Archive | None, file: ScanFile) -> bytes:
    """Return the first bytes of a DICOM file, with its whole header (see `ContainerIndex.read_head`)."""
    head = read_file(archive, file, HEADER_BYTES)
    if not is_dicom(head):
        return head
    try:
        read_header(head, is_whole=len(head) == file.size_bytes)
    except DataError:
        return read_file(archive, file)  # a header longer than usual, or none
    return head
