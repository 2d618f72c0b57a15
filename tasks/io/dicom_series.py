"""DICOM series: arranged by the headers of their files, and read in the order of positions."""

import hashlib
import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import numpy as np

from tasks.core.digests import digest
from tasks.core.errors import DataError, StorageError, as_refusal
from tasks.core.plural import counted
from tasks.core.scan_entries import ScanEntry, ScanFile, common_folder
from tasks.core.series_parts import MIN_OWN_SLICES, ON_NO_GRID, SeriesPart, parts_of
from tasks.io import storage
from tasks.io.archives import Archive, is_sequential
from tasks.io.formats import dicom, suffix_of, without_suffix
from tasks.io.other_files import kind_of_stranger
from tasks.io.packings import packing_in, unread_packing_in
from tasks.io.scan_index import ContainerIndex, read_file, read_head
from tasks.io.time_limit import note_progress

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Head:
    path: str
    file: ScanFile
    header: dicom.Header


def series_among(
    candidates: Sequence[tuple[str, ScanFile]], archive: Archive | None, *, origin: str
) -> tuple[list[ScanEntry], Counter[str]]:
    """Return the series among files of any folders, and the number of files that are no DICOM, by kind.

    Args:
        candidates: Paths below the collection and files that may be DICOM.
        archive: Archive that holds them; None for objects of the store.
        origin: Path of the archive, to distinguish its members from files beside it.
    """
    entries: list[ScanEntry] = []
    series: dict[tuple[str, str, str], list[_Head]] = defaultdict(list)
    strangers: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    heads = _map_files(archive, [file for _, file in candidates], lambda file: _head(file, archive))
    for (path, file), head in zip(candidates, heads, strict=True):
        folder = posixpath.dirname(path)
        if isinstance(head, dicom.Header):
            uid = head.series_uid
            series[uid, head.study_uid, "" if uid else folder].append(_Head(path, file, head))
        elif isinstance(head, str):
            strangers[head] += 1
        else:
            unread[folder] += 1
            entries.append(ScanEntry.rejected(without_suffix(path), [file], head, identity=f"{origin}\t{path}"))
    n_studies = Counter(uid for uid, *_ in {(uid, study) for uid, study, _ in series})
    for (uid, study, _), members in series.items():
        key = f"{uid}\t{study}" if n_studies[uid] > 1 else uid  # of a series UID that several studies share
        entries.extend(_Series(uid, study, key, archive, origin, unread).scans(members))
    return entries, strangers


def _map_files(archive: Archive | None, files: Sequence[ScanFile], read: Callable[[ScanFile], T]) -> list[T]:
    """Return what is read of files, in parallel; of an archive that is unpacked from its start, in its order."""
    if archive is None or not is_sequential(archive):
        return storage.map_in_parallel(read, files)
    found = {
        number: read(files[number]) for number in sorted(range(len(files)), key=lambda number: files[number].offset)
    }
    return [found[number] for number in range(len(files))]


def _head(file: ScanFile, archive: Archive | None) -> dicom.Header | DataError | str:
    """Return the header of a file, its error, or the kind it counts as if it is no DICOM."""
    note_progress()
    try:
        head = read_head(archive, file)
        if not dicom.is_dicom(head):
            path = file.member or file.uri
            packing = packing_in(head) or unread_packing_in(head)
            if packing:
                return DataError("wrong_suffix", f"The content is that of an archive ({packing}); name it so.")
            is_claimed = suffix_of(path) in dicom.DICOM.suffixes
            claim = DataError("wrong_suffix", "The suffix is that of DICOM, the content is not.")
            return claim if is_claimed else kind_of_stranger(path, head)
        return dicom.read_header(head)
    except StorageError as err:
        if err.can_pass:
            raise
        return err.as_refusal()
    except Exception as err:  # noqa: BLE001 - the boundary of one file
        return as_refusal(err)


@dataclass(frozen=True, slots=True)
class _Series:
    """Series with the same UID in one container.

    Attributes:
        uid: Series Instance UID; empty if the headers have none.
        study: Study Instance UID.
        key: Text that distinguishes it from other series.
        archive: Archive that holds it.
        origin: Path of the archive.
        unread: Number of files by folder that could not be read.
    """

    uid: str
    study: str
    key: str
    archive: Archive | None
    origin: str
    unread: Mapping[str, int]

    def scans(self, members: Sequence[_Head]) -> list[ScanEntry]:
        """Return its scans; one over several folders is joined where it lies on one grid."""
        folders: dict[str, list[_Head]] = defaultdict(list)
        for member in members:
            folders[posixpath.dirname(member.path)].append(member)
        joined = self._scans_in(members)
        if len(folders) == 1 or not _is_to_be_parted(joined, members):
            return joined
        apart = [entry for own in folders.values() for entry in self._scans_in(own)]
        if all(entry.error_code or entry.n_slices < MIN_OWN_SLICES for entry in apart) and not any(
            member.header.refused for member in members
        ):
            return joined  # a folder a slice: the parts are no scans
        warning = f"The series lies in {len(folders)} folders that make no single scan; this is the part of one."
        return [
            entry if entry.error_code else entry.model_copy(update={"warnings": (warning, *entry.warnings)})
            for entry in apart
        ]

    def _scans_in(self, members: Sequence[_Head]) -> list[ScanEntry]:
        frames = [(member, frame) for member in members for frame in range(len(member.header.slices))]
        try:
            parts = parts_of(
                [member.header.slices[frame] for member, frame in frames],
                lambda indices: self._digests([frames[index] for index in indices]),
            )
        except Exception as err:  # noqa: BLE001 - the boundary of one series
            parts = [SeriesPart(tuple(range(len(frames))), as_refusal(err))]
        said = tuple(self._warnings(members))
        held = [[frames[index] for index in part.members] for part in parts]
        folders = [common_folder({posixpath.dirname(member.path) for member, _ in own}) for own in held]
        return [
            self._scan(folder, part, own, said, label=part.label if folders.count(folder) > 1 else "")
            for folder, part, own in zip(folders, parts, held, strict=True)
        ]

    def _scan(
        self, folder: str, part: SeriesPart, frames: Sequence[tuple[_Head, int]], said: tuple[str, ...], *, label: str
    ) -> ScanEntry:
        """Return a scan with its frames in the order of its grid, or rejected."""
        files = tuple(dict.fromkeys(member.file for member, _ in frames))
        identity = "\t".join([self.origin, folder, self.key, *([label] if label else [])])
        series = digest(uid=self.uid, study=self.study) if self.uid else ""
        if isinstance(part.found, DataError):
            rejected = ScanEntry.rejected(folder or "series", files, part.found, identity=identity, kind="dicom")
            return rejected.model_copy(update={"series": series, "warnings": (*said, *part.warnings)})
        number_of = {file: number for number, file in enumerate(files)}
        grid = part.found.grid
        return ScanEntry(
            path=folder or "series",
            identity=identity,
            kind="dicom",
            files=files,
            file_indices=tuple(number_of[frames[index][0].file] for index in part.found.order),
            frames=tuple(frames[index][1] for index in part.found.order),
            missing=part.found.missing,
            shape=grid.shape,
            affine=tuple(tuple(row) for row in grid.affine.tolist()),
            series=series,
            can_be_cut=grid.is_read_slice_by_slice,
            warnings=(*said, *part.warnings, *part.found.warnings),
        )

    def _warnings(self, members: Sequence[_Head]) -> Iterator[str]:
        folders = {posixpath.dirname(member.path) for member in members}
        n_unread = sum(self.unread.get(folder, 0) for folder in folders)
        if n_unread:
            yield f"{counted(n_unread, 'file')} beside the series cannot be read; outer slices may be missing."
        yield from dict.fromkeys(warning for member in members for warning in member.header.warnings)

    def _digests(self, frames: Sequence[tuple[_Head, int]]) -> list[str]:
        """Return digests of the pixels of frames; of a multi-frame file that of the file, with the frame's number."""
        files = list(dict.fromkeys(member.file for member, _ in frames))
        is_multi = {member.file: len(member.header.slices) > 1 for member, _ in frames}
        of_file = dict(
            zip(files, _map_files(self.archive, files, lambda file: self._digest(file, is_multi[file])), strict=True)
        )
        return [of_file[member.file] and f"{of_file[member.file]}#{frame}" for member, frame in frames]

    def _digest(self, file: ScanFile, is_multi: bool) -> str:
        """Return the digest of a file or of its one frame; an empty one if it cannot be read."""
        note_progress()
        try:
            content = read_file(self.archive, file)
            return hashlib.sha256(content).hexdigest() if is_multi else dicom.digest_of_frame(content, 0)
        except DataError:
            return ""


def _is_to_be_parted(joined: Sequence[ScanEntry], members: Sequence[_Head]) -> bool:
    """Return whether folders with one series UID do not belong together: on no grid, or refused for several reasons."""
    codes = {entry.error_code for entry in joined}
    return bool(codes & ON_NO_GRID) or (None not in codes and len({member.header.refused for member in members}) > 1)


def read_slices(index: ContainerIndex, entry: ScanEntry, first: int, last: int) -> np.ndarray:
    """Return slices of a series as stored, float32 `(last - first, H, W)` in Hounsfield units.

    Raises:
        DataError: If one of its files cannot be read, or differs from its header.
    """
    return np.stack(list(_frames(index, entry, range(first, last))))


def read_or_refuse(index: ContainerIndex, file: ScanFile) -> bytes | DataError:
    """Return the bytes of a file, or the reason of its rejection."""
    try:
        return index.read(file)
    except StorageError as err:
        return err.as_refusal()
    except Exception as err:  # noqa: BLE001 - the boundary of one file
        return as_refusal(err)


def _frames(index: ContainerIndex, entry: ScanEntry, wanted: range) -> Iterator[np.ndarray]:
    file_indices = sorted({entry.file_indices[number] for number in wanted})
    files = [entry.files[number] for number in file_indices]
    contents = _map_files(index.archive, files, lambda file: read_or_refuse(index, file))
    by_index = dict(zip(file_indices, contents, strict=True))
    for file_index, numbers in groupby(wanted, key=lambda number: entry.file_indices[number]):
        content = by_index[file_index]
        if isinstance(content, DataError):
            raise content
        frames = dicom.read_frames(content, [entry.frames[number] for number in numbers])
        if entry.shape is None or frames.shape[1:] != entry.shape[1:]:
            raise DataError("mixed_geometry", f"A slice is {frames.shape[1:]} px, its header said otherwise.")
        yield from frames
