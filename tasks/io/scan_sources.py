"""Results of a listing: scans, and containers of scans."""

import posixpath
from dataclasses import dataclass
from typing import Self

from tasks.core.errors import ErrorCode
from tasks.core.scan_entries import ScanEntry, ScanFile, common_folder
from tasks.io.formats import without_suffix
from tasks.io.packings import packing_of
from tasks.io.sealed_file import SealedFile
from tasks.io.stored_objects import StoredObject, fingerprint


@dataclass(frozen=True, slots=True)
class Container:
    """Container of scans: an archive, or the DICOM files of a folder.

    Attributes:
        path: Path below the collection; of an archive without suffix.
        objects: The archive alone, or the files.
    """

    path: str
    objects: tuple[StoredObject, ...]

    @property
    def fingerprint(self) -> str:
        """Digest that changes with the content."""
        return fingerprint(self.objects)

    @property
    def is_archive(self) -> bool:
        """Whether it is an archive."""
        return packing_of(self.objects[0].path) is not None

    @property
    def identity(self) -> str:
        """Text that distinguishes containers with the same path."""
        return self.objects[0].path if self.is_archive else f"{self.path}/"

    @property
    def modified_s(self) -> float | None:
        """Time of the last change of any of its objects."""
        times = [o.modified_s for o in self.objects if o.modified_s is not None]
        return max(times, default=None)

    def is_after(self, time_s: float) -> bool:
        """Return whether it changed after a time, seconds since the epoch."""
        return self.modified_s is not None and self.modified_s > time_s


@dataclass(frozen=True, slots=True)
class ScanSource:
    """Scan as listed.

    Attributes:
        path: Path below the collection without suffix; the id is made from it. Empty once it has an id.
        identity: Text that distinguishes scans with the same path. Empty once it has an id.
        uri: URI of the file; of a member, URI of the archive, `!/` and its path there; of a series, URI of the folder.
            Encrypted if ids are hashed.
        fingerprint: Digest that changes with the content.
        kind: Name of its format.
        n_slices: Number of slices, as far as it is known before reading.
        modified_s: Time of its last change, seconds since the epoch; None if the store has none.
        scan_id: Relative path without suffix, `/` as `__`; a hash is added only if two scans would share it. If
            ids are hashed, a hash of the path alone.
        file: Its file, if it is no part of a container.
        data: File with its voxels, if the other is only their header.
        index: File of the index of its container, and its number there.
        refused: Reason of its rejection, if it is rejected without being read.
        can_be_cut: Whether some of its slices can be read without the others.
        piece: First slice and slice after the last of a piece; None for the whole scan.
        parts: Slices of a stack, in order.
        positions: Number of each slice of a stack, which may have gaps; empty for other scans.
        is_beside_dicom: Whether it is a picture that came with DICOM slices (`ScanEntry.is_beside_dicom`).
        waits: Whether it is to be segmented later, with slices that may still be uploading.
        warnings: Warnings for the user, as far as the listing shows any.
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
    data: ScanFile | None = None
    index: tuple[SealedFile, int] | None = None
    refused: tuple[ErrorCode, str] | None = None
    can_be_cut: bool = False
    piece: tuple[int, int] | None = None
    parts: tuple["ScanSource", ...] = ()
    positions: tuple[int, ...] = ()
    is_beside_dicom: bool = False
    waits: bool = False
    warnings: tuple[str, ...] = ()

    @classmethod
    def of_object(
        cls, o: StoredObject, *, kind: str = "raster", data: StoredObject | None = None, is_beside_dicom: bool = False
    ) -> Self:
        """Return the scan in one object of the store; of a header whose voxels lie in another, in both."""
        path, both = without_suffix(o.path), [o, *([data] if data else [])]
        files = tuple(ScanFile(uri=one.uri, size_bytes=one.size_bytes, version=one.version) for one in both)
        times = [one.modified_s for one in both if one.modified_s is not None]
        return cls(
            path,
            o.path,
            o.uri,
            ScanEntry(path=path, identity=o.path, kind=kind, files=files).fingerprint,
            kind,
            modified_s=max(times, default=None),
            file=files[0],
            data=files[1] if data else None,
            is_beside_dicom=is_beside_dicom,
        )

    @classmethod
    def of_entry(cls, entry: ScanEntry, number: int, kept: SealedFile, container: Container) -> Self:
        """Return a scan of a container."""
        file = entry.files[0]
        uri = f"{file.uri}!/{file.member}" if file.member else file.uri
        if entry.kind == "dicom" and not entry.error_code:
            uris = [f"{file.uri}!/{file.member}" if file.member else file.uri for file in entry.files]
            uri = common_folder({posixpath.dirname(uri) for uri in uris})
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
            is_beside_dicom=entry.is_beside_dicom,
            warnings=entry.warnings if entry.error_code else (),
        )
