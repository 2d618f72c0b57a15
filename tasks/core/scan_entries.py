"""A scan as it lies in files, before it is read."""

import hashlib
from collections.abc import Iterable

import numpy as np
from pydantic import Field

from tasks.core.errors import DataError, ErrorCode
from tasks.core.record import Record
from tasks.core.volumes import Grid


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
        kind: Name of its format.
        files: In the order of its slices, where it has one file a slice.
        frames: Number of the frame in its file of each slice, where it is DICOM.
        file_indices: Index of the file of each slice, if it is DICOM.
        shape: Of its grid, where the headers say.
        affine: Of its grid.
        can_be_cut: Whether a run of its slices can be read without the others.
        warnings: What a reader should know.
        error_code: Why it was rejected without being read.
        error: The same as a sentence.
        where: Traceback of an `internal_error`, for the log of the run that met it; not kept.
    """

    path: str
    identity: str
    kind: str
    files: tuple[ScanFile, ...]
    frames: tuple[int, ...] = ()
    file_indices: tuple[int, ...] = ()
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

    @classmethod
    def rejected(
        cls, path: str, files: Iterable[ScanFile], refusal: DataError, *, identity: str, kind: str = "raster"
    ) -> "ScanEntry":
        """Return the entry of a scan that is not read, and why."""
        return cls(
            path=path,
            identity=identity,
            kind=kind,
            files=tuple(files),
            error_code=refusal.code,
            error=refusal.sentence,
            where=refusal.where,
        )
