"""What a listing finds: scans, and containers that hold some."""

import posixpath
from dataclasses import dataclass
from typing import Self

from tasks.core.errors import ErrorCode
from tasks.core.scan_entries import ScanEntry, ScanFile
from tasks.io.archives import packing_of
from tasks.io.sealed_file import SealedFile
from tasks.io.stored_objects import StoredObject, fingerprint


@dataclass(frozen=True, slots=True)
class Container:
    """An archive, or the DICOM files of a folder.

    Attributes:
        path: Below the collection; of an archive without its suffix.
        objects: The archive alone, or the files.
    """

    path: str
    objects: tuple[StoredObject, ...]

    @property
    def fingerprint(self) -> str:
        """Changes when the content does."""
        return fingerprint(self.objects)

    @property
    def identity(self) -> str:
        """What tells it from another container of the same path."""
        return self.objects[0].path if packing_of(self.objects[0].path) else f"{self.path}/"

    @property
    def modified_s(self) -> float | None:
        """Time of the last change of any of its objects."""
        times = [o.modified_s for o in self.objects if o.modified_s is not None]
        return max(times, default=None)


@dataclass(frozen=True, slots=True)
class ScanSource:
    """A scan as listed.

    Attributes:
        path: Below the collection, without suffix: what its id is made of. Empty once it has one.
        identity: What tells it from another of the same path. Empty once it has an id.
        uri: Where its bytes lie; of a member, the archive's and `!/` and its path there; of a series, its folder's.
            With a seal, closed with it.
        fingerprint: Changes when the content does.
        kind: Name of its format.
        n_slices: As far as is known before it is read.
        modified_s: Time of its last change, seconds since the epoch; None where the store does not say.
        scan_id: Relative path without suffix, `/` as `__`; a hash is added only where two scans would share it. With
            a seal, a hash of the path and nothing else.
        file: The one file it is, where it is no part of a container.
        index: Where its container's index lies, and its number in it.
        refused: Why it is rejected without being read.
        can_be_cut: Whether a run of its slices can be read without the others.
        piece: The slices meant, first and behind the last; None for all.
        parts: Of a stack its slices, in order.
        warnings: What a reader should know, as far as the listing shows.
    """

    path: str
    identity: str
    uri: str
    fingerprint: str
    kind: str
    n_slices: int = 1
    modified_s: float | None = None
    scan_id: str = ""
    file: ScanFile | None = None
    index: tuple[SealedFile, int] | None = None
    refused: tuple[ErrorCode, str] | None = None
    can_be_cut: bool = False
    piece: tuple[int, int] | None = None
    parts: tuple["ScanSource", ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of_object(cls, o: StoredObject, *, path: str, kind: str) -> Self:
        """Return a scan that is one object of the store."""
        file = ScanFile(uri=o.uri, size_bytes=o.size_bytes, version=o.version)
        entry = ScanEntry(path=path, identity=o.path, kind=kind, files=(file,))
        return cls(path, o.path, o.uri, entry.fingerprint, kind, modified_s=o.modified_s, file=file)

    @classmethod
    def of_entry(cls, entry: ScanEntry, number: int, kept: SealedFile, container: Container) -> Self:
        """Return a scan of a container."""
        file = entry.files[0]
        uri = f"{file.uri}!/{file.member}" if file.member else file.uri
        if entry.kind == "dicom" and not entry.error_code:
            uri = posixpath.dirname(uri)
        return cls(
            entry.path,
            entry.identity,
            uri,
            entry.fingerprint,
            entry.kind,
            n_slices=entry.n_slices,
            modified_s=container.modified_s,
            index=(kept, number),
            refused=(entry.error_code, entry.error or "") if entry.error_code else None,
            can_be_cut=entry.can_be_cut,
        )
