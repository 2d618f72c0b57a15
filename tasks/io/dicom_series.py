"""DICOM series: arranged by the headers of their files, and read in the order of positions."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tasks.core.errors import DataError, StorageError, as_refusal
from tasks.core.scan_entries import ScanEntry, ScanFile
from tasks.core.slice_geometry import arrange
from tasks.io import storage
from tasks.io.archives import Archive
from tasks.io.formats import dicom, suffix_of, without_suffix
from tasks.io.other_files import kind_of_stranger
from tasks.io.scan_index import ContainerIndex, read_head


@dataclass(frozen=True, slots=True)
class _Head:
    name: str
    file: ScanFile
    header: dicom.Header


def series_among(
    folder: str, candidates: Sequence[tuple[str, ScanFile]], archive: Archive | None, *, origin: str
) -> tuple[list[ScanEntry], Counter[str]]:
    """Return the series among the files of a folder, and the number of files that are no DICOM, by kind.

    Args:
        folder: Path below the collection.
        candidates: Paths and files that may be DICOM.
        archive: Archive that holds them; None for objects of the store.
        origin: Path of the archive, to distinguish its members from files beside it.
    """
    entries: list[ScanEntry] = []
    series: dict[str, list[_Head]] = defaultdict(list)
    strangers: Counter[str] = Counter()
    heads = storage.map_in_parallel(lambda candidate: _head(candidate[1], archive), candidates)
    for (name, file), head in zip(candidates, heads, strict=True):
        if isinstance(head, dicom.Header):
            series[head.series_uid].append(_Head(name, file, head))
        elif isinstance(head, str):
            strangers[head] += 1
        else:
            entries.append(ScanEntry.rejected(without_suffix(name), [file], head, identity=f"{origin}\t{name}"))
    for uid, members in series.items():
        entries.append(_series_entry(folder, members, identity=f"{origin}\t{folder}\t{uid}"))
    return entries, strangers


def _head(file: ScanFile, archive: Archive | None) -> dicom.Header | DataError | str:
    """Return the header of a file, its error, or the kind it counts as if it is no DICOM."""
    try:
        head = read_head(archive, file)
        if not dicom.is_dicom(head):
            is_claimed = suffix_of(file.member or file.uri) in dicom.DICOM.suffixes
            claim = DataError("wrong_suffix", "The suffix is that of DICOM, the content is not.")
            return claim if is_claimed else kind_of_stranger(head)
        return dicom.read_header(head)
    except StorageError as err:
        if err.can_pass:
            raise
        return err.as_refusal()
    except Exception as err:  # noqa: BLE001 - the boundary of one file
        return as_refusal(err)


def _series_entry(folder: str, members: Sequence[_Head], *, identity: str) -> ScanEntry:
    """Return a series as a scan, which may be rejected."""
    path = folder or "series"
    files = [member.file for member in members]
    slices = {member.header.instance_uid: member for member in members if not member.header.is_localiser}
    n_localisers = sum(member.header.is_localiser for member in members)
    n_copies = len(members) - n_localisers - len(slices)
    warnings = [f"{n_localisers} localisers were left out."] * bool(n_localisers)
    warnings += [f"{n_copies} files are copies of others and were left out."] * bool(n_copies)
    kept = list(slices.values())
    try:
        if not kept:
            raise DataError("localiser_only", f"The series holds {n_localisers} localisers and no slice.")
        for member in kept:
            if member.header.refused:
                raise DataError(*member.header.refused)
        planes = [(i, frame) for i, member in enumerate(kept) for frame in range(len(member.header.planes))]
        arranged = arrange([kept[i].header.planes[frame] for i, frame in planes])
    except Exception as err:  # noqa: BLE001 - the boundary of one series
        return ScanEntry.rejected(path, files, as_refusal(err), identity=identity, kind="dicom")
    return ScanEntry(
        path=path,
        identity=identity,
        kind="dicom",
        files=tuple(member.file for member in kept),
        file_indices=tuple(planes[number][0] for number in arranged.order),
        frames=tuple(planes[number][1] for number in arranged.order),
        shape=arranged.grid.shape,
        affine=tuple(tuple(row) for row in arranged.grid.affine.tolist()),
        can_be_cut=arranged.grid.is_read_slice_by_slice,
        warnings=(*warnings, *arranged.warnings),
    )


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
    contents = storage.map_in_parallel(lambda i: read_or_refuse(index, entry.files[i]), file_indices)
    by_index = dict(zip(file_indices, contents, strict=True))
    for file_index, numbers in groupby(wanted, key=lambda number: entry.file_indices[number]):
        content = by_index[file_index]
        if isinstance(content, DataError):
            raise content
        frames = dicom.read_frames(content, [entry.frames[number] for number in numbers])
        if entry.shape is None or frames.shape[1:] != entry.shape[1:]:
            raise DataError("mixed_geometry", f"A slice is {frames.shape[1:]} px, its header said otherwise.")
        yield from frames
