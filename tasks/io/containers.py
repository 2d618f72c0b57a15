"""Containers, opened: an archive, or the DICOM files of a folder, to the scans they hold.

A container is opened once; its index is kept under a name made of the container's own version.
"""

import hashlib
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.core.errors import DataError, ErrorCode, StorageError
from tasks.core.series import arrange
from tasks.io import storage
from tasks.io.archives import Archive, Member, list_members, packing_of
from tasks.io.formats import READER_VERSION, Kind, dicom, kind_of, without_suffix
from tasks.io.scan_index import ContainerIndex, ScanEntry, ScanFile, read_head
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
    def key(self) -> str:
        """Changes when the content does, or the readers do."""
        return hashlib.sha256(f"{fingerprint(self.objects)}:{READER_VERSION}".encode()).hexdigest()

    @property
    def identity(self) -> str:
        """What tells it from another container of the same path."""
        return self.objects[0].path if packing_of(self.objects[0].path) else f"{self.path}/"

    @property
    def modified_s(self) -> float | None:
        """Time of the last change of any of its objects."""
        times = [o.modified_s for o in self.objects if o.modified_s is not None]
        return max(times, default=None)

    def index(self, folder_uri: str) -> ContainerIndex:
        """Return what it holds, by reading it.

        Args:
            folder_uri: Where the seek points of a gzipped tar are kept.

        Raises:
            StorageError: If it is gone or the store does not answer.
        """
        packing = packing_of(self.objects[0].path)
        if packing is None:
            files = [ScanFile(uri=o.uri, size_bytes=o.size_bytes, version=o.version) for o in self.objects]
            names = [o.path for o in self.objects]
            return _index(list(zip(names, files, strict=True)), None, [], origin="")
        (found,) = self.objects
        seek_points_uri = storage.join(folder_uri, f"{self.key}.gzidx")
        archive = Archive(found.uri, found.size_bytes, found.version, packing, seek_points_uri)
        return self._index_archive(archive)

    def refused(self, code: ErrorCode, sentence: str) -> ContainerIndex:
        """Return it as one scan that is set aside."""
        files = [ScanFile(uri=o.uri, size_bytes=o.size_bytes, version=o.version) for o in self.objects]
        return ContainerIndex(entries=(_refusal(self.path or "series", files, code, sentence, identity=self.identity),))

    def _index_archive(self, archive: Archive) -> ContainerIndex:
        files, refused, origin = [], [], self.objects[0].path
        try:
            for member in list_members(archive):
                file = _file_of(archive, member)
                if member.refused:
                    identity = f"{origin}\t{member.name}"
                    refused.append(
                        _refusal(
                            without_suffix(f"{self.path}/{member.name}"), [file], *member.refused, identity=identity
                        )
                    )
                else:
                    files.append((f"{self.path}/{member.name}", file))
        except DataError as err:  # what came before is good
            whole = ScanFile(uri=archive.uri, size_bytes=archive.size_bytes, version=archive.version)
            refused.append(_refusal(self.path, [whole], err.code, err.sentence, identity=origin))
        return _index(files, archive, refused, origin=origin)


def _file_of(archive: Archive, member: Member) -> ScanFile:
    return ScanFile(
        uri=archive.uri,
        size_bytes=member.size_bytes,
        version=archive.version,
        member=member.name,
        offset=member.offset,
    )


def _index(
    files: Sequence[tuple[str, ScanFile]], archive: Archive | None, entries: list[ScanEntry], *, origin: str
) -> ContainerIndex:
    """Return files as scans; `origin` is the archive's own path, which tells its members from what lies beside it."""
    n_ignored: Counter[str] = Counter()
    folders: dict[str, list[tuple[str, ScanFile]]] = defaultdict(list)
    claims = Counter(name for name, _ in files)
    for name, file in dict(files).items():
        is_hidden = any(part.startswith(".") for part in name.split("/"))
        kind = None if is_hidden else kind_of(name)
        identity = f"{origin}\t{file.member}" if origin else name
        if claims[name] > 1:
            sentence = f"{claims[name]} members have this name; which is meant cannot be known. Pack the archive anew."
            entries.append(_refusal(without_suffix(name), [file], "duplicate_name", sentence, identity=identity))
        elif packing_of(name) and archive:
            sentence = "An archive lies in an archive; only one level is opened."
            entries.append(_refusal(without_suffix(name), [file], "nested_archive", sentence, identity=identity))
        elif kind == "dicom":
            folders[posixpath.dirname(name)].append((name, file))
        elif kind is None:
            n_ignored[posixpath.splitext(name)[1].lower() or "without suffix"] += 1
        else:
            entries.append(ScanEntry(path=without_suffix(name), identity=identity, kind=kind, files=(file,)))
    for folder, candidates in folders.items():
        found, n_strangers = _series(folder, candidates, archive, origin=origin)
        entries.extend(found)
        n_ignored["without suffix"] += n_strangers
    return ContainerIndex(entries=tuple(entries), archive=archive, n_ignored={k: n for k, n in n_ignored.items() if n})


@dataclass(frozen=True, slots=True)
class _Head:
    name: str
    file: ScanFile
    header: dicom.Header


def _series(
    folder: str, candidates: Sequence[tuple[str, ScanFile]], archive: Archive | None, *, origin: str
) -> tuple[list[ScanEntry], int]:
    """Return the series among the files of a folder, and how many files are no DICOM and do not claim to be."""
    entries: list[ScanEntry] = []
    series: dict[str, list[_Head]] = defaultdict(list)
    n_strangers = 0
    heads = storage.map_in_parallel(lambda candidate: _head(candidate[1], archive), candidates)
    for (name, file), head in zip(candidates, heads, strict=True):
        if isinstance(head, dicom.Header):
            series[head.series_uid].append(_Head(name, file, head))
        elif head is None:
            n_strangers += 1
        else:
            entries.append(
                _refusal(without_suffix(name), [file], head.code, head.sentence, identity=f"{origin}\t{name}")
            )
    for uid, members in series.items():
        entries.append(_series_entry(folder, members, identity=f"{origin}\t{folder}\t{uid}"))
    return entries, n_strangers


def _head(file: ScanFile, archive: Archive | None) -> dicom.Header | DataError | None:
    """Return the header of a file, why it has none, or None for a stranger."""
    try:
        head = read_head(archive, file)
        if not dicom.is_dicom(head):
            is_claimed = posixpath.splitext(file.member or file.uri)[1].lower() in dicom.SUFFIXES
            return DataError("wrong_suffix", "The name says DICOM, the content does not.") if is_claimed else None
        return dicom.read_header(head)
    except DataError as err:
        return err
    except StorageError as err:
        if err.can_pass:
            raise
        return err.as_refusal()


def _series_entry(folder: str, members: Sequence[_Head], *, identity: str) -> ScanEntry:
    """Return a series as a scan, or why it is none."""
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
        planes = [(place, frame) for place, member in enumerate(kept) for frame in range(len(member.header.planes))]
        arranged = arrange([kept[place].header.planes[frame] for place, frame in planes])
    except DataError as err:
        return _refusal(path, files, err.code, err.sentence, identity=identity, kind="dicom")
    return ScanEntry(
        path=path,
        identity=identity,
        kind="dicom",
        files=tuple(member.file for member in kept),
        places=tuple(planes[number][0] for number in arranged.order),
        frames=tuple(planes[number][1] for number in arranged.order),
        shape=arranged.grid.shape,
        affine=tuple(tuple(row) for row in arranged.grid.affine.tolist()),
        can_be_cut=arranged.grid.is_read_slice_by_slice,
        warnings=(*warnings, *arranged.warnings),
    )


def _refusal(
    path: str, files: Iterable[ScanFile], code: ErrorCode, sentence: str, *, identity: str, kind: Kind = "raster"
) -> ScanEntry:
    return ScanEntry(path=path, identity=identity, kind=kind, files=tuple(files), error_code=code, error=sentence)
