"""What a container was found to hold: the scans of an archive, or of a folder of DICOM files, each with its files.

The index of a container is kept beside the output, so that later runs, and the workers of this one, know its scans
without opening it.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from tasks.core.addresses import shown_uri
from tasks.core.errors import DataError, ErrorCode, StorageError
from tasks.core.record import Record
from tasks.core.volumes import Grid
from tasks.io import storage
from tasks.io.archives import Archive, ArchiveMember, read_member
from tasks.io.formats import dicom
from tasks.io.formats.format import Kind
from tasks.io.pseudonyms import Seal

FOLDER = "index"
MAX_FILE_BYTES = 2 << 30
"""1,000 slices of 512x512 in float32 are 1 GiB."""


class ScanFile(Record):
    """One file of a scan.

    Attributes:
        uri: The object that is it, or the archive that holds it.
        size_bytes: Unpacked.
        version: Of the object.
        member: Its path in the archive; empty for an object of its own.
        offset: Of a member's bytes (`ArchiveMember.offset`).
    """

    uri: str
    size_bytes: int
    version: str
    member: str = ""
    offset: int = 0


class ScanEntry(Record):
    """A scan of a container.

    Attributes:
        path: Below the collection, without suffix: what its `scan_id` is made of.
        identity: What tells it from another scan of the same path.
        kind: What reads it.
        files: In the order of its slices, where it has one file a slice.
        frames: Number of the frame in its file of each slice, where it is DICOM.
        places: Number of the file of each slice, where it is DICOM.
        shape: Of its grid, where the headers say.
        affine: Of its grid.
        can_be_cut: Whether a run of its slices can be read without the others.
        warnings: What a reader should know.
        error_code: Why it was set aside without being read.
        error: The same as a sentence.
        where: Traceback of an `internal_error`, for the log of the run that met it; not kept.
    """

    path: str
    identity: str
    kind: Kind
    files: tuple[ScanFile, ...]
    frames: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    shape: tuple[int, int, int] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None
    can_be_cut: bool = False
    warnings: tuple[str, ...] = ()
    error_code: ErrorCode | None = None
    error: str | None = None
    where: str | None = Field(None, exclude=True)

    @property
    def n_slices(self) -> int:
        """How many slices it has, as far as is known before it is read."""
        return max(1, len(self.frames))

    @property
    def grid(self) -> Grid | None:
        """Where its voxels lie, where the headers say."""
        if self.shape is None or self.affine is None:
            return None
        return Grid(self.shape, np.array(self.affine))

    @property
    def fingerprint(self) -> str:
        """sha256 over the sorted URIs, members and versions of its files: it changes when their content does."""
        lines = sorted(f"{file.uri}\t{file.member}\t{file.version}" for file in self.files)
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


class ContainerIndex(Record):
    """All of a container.

    Attributes:
        entries: Its scans.
        archive: How its files are read, where it is an archive.
        n_ignored: Files that are no scans, by suffix.
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


@dataclass(frozen=True, slots=True)
class IndexFile:
    """The index of a container as it is kept.

    Attributes:
        uri: Where.
        seal: What it is closed with, where names are to be kept from readers of the output.
    """

    uri: str
    seal: Seal | None = None

    def write(self, index: ContainerIndex) -> None:
        """Keep an index.

        Raises:
            StorageError: If the store refuses or does not answer.
        """
        content = index.model_dump_json().encode()
        storage.publish(self.uri, self.seal.close(content) if self.seal else content)

    def read(self) -> ContainerIndex:
        """Return the index.

        Raises:
            ConfigError: If it was closed with another key.
            StorageError: If it is gone, not whole, or the store does not answer.
        """
        content = storage.read_bytes(self.uri)
        try:
            return ContainerIndex.model_validate_json(self.seal.open(content) if self.seal else content)
        except ValueError as err:
            raise StorageError(f"The index {shown_uri(self.uri)} is not whole; remove it and start again.") from err


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
    head = read_file(archive, file, dicom.HEADER_BYTES)
    try:
        dicom.read_header(head, is_whole=len(head) == file.size_bytes)
    except DataError:
        return read_file(archive, file)  # a header longer than most, or none
    return head
