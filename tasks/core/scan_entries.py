"""Entry of a scan in the index of its container: its files and geometry, before voxels are read."""

import hashlib
from collections.abc import Iterable
from itertools import takewhile

import numpy as np
from pydantic import Field

from tasks.core.errors import DataError
from tasks.core.record import Record
from tasks.core.stored_code import StoredCode
from tasks.core.volumes import Grid


class ScanFile(Record):
    """File of a scan.

    Attributes:
        uri: URI of the object, or of the archive that holds the file.
        size_bytes: Unpacked size.
        version: Version of the object.
        member: Path in the archive; empty for an object.
        offset: Offset of a member's bytes (`ArchiveMember.offset`).
    """

    uri: str
    size_bytes: int
    version: str
    member: str = ""
    offset: int = 0


class ScanEntry(Record):
    """Scan of a container.

    Attributes:
        path: Path below the collection without suffix; the `scan_id` is made from it.
        identity: Text that distinguishes scans with the same path.
        kind: Name of its format.
        files: Its files, in the order of the slices if there is one file per slice.
        frames: Index of the frame of each slice in its file, if it is DICOM.
        file_indices: Index of the file of each slice, if it is DICOM.
        shape: Shape of its grid, if the headers have it.
        affine: Affine of its grid.
        missing: Places of the grid without a slice; there, the slice before stands for it.
        series: Digest of the Series Instance UID, if it is DICOM.
        can_be_cut: Whether some of its slices can be read without the others.
        is_beside_dicom: Whether it is a picture that came with DICOM slices, such as a viewer's logo.
        warnings: Warnings for the user.
        error_code: Code of the rejection, if it is rejected without being read.
        error: Sentence of the rejection.
        where: Traceback of an `internal_error`, for the log; not stored.
    """

    path: str
    identity: str
    kind: str
    files: tuple[ScanFile, ...]
    frames: tuple[int, ...] = ()
    file_indices: tuple[int, ...] = ()
    shape: tuple[int, int, int] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None
    missing: tuple[int, ...] = ()
    series: str = ""
    can_be_cut: bool = False
    is_beside_dicom: bool = False
    warnings: tuple[str, ...] = ()
    error_code: StoredCode | None = None
    error: str | None = None
    where: str | None = Field(None, exclude=True)

    @property
    def n_slices(self) -> int:
        """Number of slices, as far as it is known before reading."""
        return max(1, len(self.frames))

    @property
    def has_volume(self) -> bool:
        """Whether a series has all its slices, and more than one, so that volumes can be given in millilitres."""
        return self.n_slices > 1 and not self.missing

    @property
    def grid(self) -> Grid | None:
        """Grid of the voxels, if the headers have it."""
        if self.shape is None or self.affine is None:
            return None
        return Grid(self.shape, np.array(self.affine))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the sorted URIs, members and versions of its files; it changes when their content does."""
        lines = sorted(f"{file.uri}\t{file.member}\t{file.version}" for file in self.files)
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    @classmethod
    def rejected(
        cls, path: str, files: Iterable[ScanFile], refusal: DataError, *, identity: str, kind: str = "raster"
    ) -> "ScanEntry":
        """Return the entry of a scan that is rejected without being read."""
        return cls(
            path=path,
            identity=identity,
            kind=kind,
            files=tuple(files),
            error_code=refusal.code,
            error=refusal.sentence,
            where=refusal.where,
        )


def common_folder(paths: Iterable[str]) -> str:
    """Return the deepest folder that paths of folders share; empty if they share none."""
    shared = zip(*(path.split("/") for path in paths), strict=False)
    return "/".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, shared))
