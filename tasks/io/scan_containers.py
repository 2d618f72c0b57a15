"""Containers, opened: an archive, or the DICOM files of a folder, to the scans they hold.

A container is opened once; its index is kept under a name made of the container's own version.
"""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.core.digests import digest
from tasks.core.errors import DataError, StorageError, as_refusal
from tasks.core.reader_version import READER_VERSION
from tasks.core.slice_geometry import arrange
from tasks.io import storage
from tasks.io.archives import Archive, ArchiveMember, Packing, list_members, packing_of
from tasks.io.formats import KINDS, dicom, has_telling_suffix, kind_of, shown_formats, suffix_of, without_suffix
from tasks.io.formats.format import Kind
from tasks.io.other_files import HIDDEN, MIN_SCAN_BYTES, kind_of_other, kind_of_stranger, n_possible_scans, shown
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
        """Changes when the content does, the readers do, or a format is added."""
        return digest(files=fingerprint(self.objects), reader_version=READER_VERSION, kinds=sorted(KINDS))

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
        found = self._index_archive(folder_uri, packing) if packing else self._index_folder()
        is_empty = packing is not None and not found.n_ignored
        if not found.entries and (is_empty or n_possible_scans(found.n_ignored)):
            what = f"Nothing in it is read as a scan: {shown(found.n_ignored)}." if found.n_ignored else "It is empty."
            refused = self.refused(DataError("no_scan", f"{what} Send {shown_formats()}."))
            return refused.model_copy(update={"n_ignored": found.n_ignored})
        return found

    def index_or_refuse(self, folder_uri: str) -> ContainerIndex:
        """Return what it holds, or itself as one scan that is set aside, whatever reading it brings about."""
        try:
            return self.index(folder_uri)
        except StorageError as err:  # its own sentence names the object
            return self.refused(err.as_refusal())
        except Exception as err:  # noqa: BLE001 - the boundary of one archive
            return self.refused(as_refusal(err))

    def refused(self, refusal: DataError) -> ContainerIndex:
        """Return it as one scan that is set aside."""
        files = [ScanFile(uri=o.uri, size_bytes=o.size_bytes, version=o.version) for o in self.objects]
        return ContainerIndex(entries=(_refused(self.path or "series", files, refusal, identity=self.identity),))

    def _index_folder(self) -> ContainerIndex:
        files = [ScanFile(uri=o.uri, size_bytes=o.size_bytes, version=o.version) for o in self.objects]
        names = [o.path for o in self.objects]
        return _index(list(zip(names, files, strict=True)), None, [], origin="")

    def _index_archive(self, folder_uri: str, packing: Packing) -> ContainerIndex:
        (found,) = self.objects
        seek_points_uri = storage.join(folder_uri, f"{self.key}.gzidx")
        archive = Archive(found.uri, found.size_bytes, found.version, packing, seek_points_uri)
        files, refused, origin = [], [], found.path
        try:
            for member in list_members(archive):
                file, path = _file_of(archive, member), f"{self.path}/{member.path}"
                if member.refused:
                    refusal, identity = DataError(*member.refused), f"{origin}\t{member.name}"
                    refused.append(_refused(without_suffix(path), [file], refusal, identity=identity))
                else:
                    files.append((path, file))
        except Exception as err:  # noqa: BLE001 - the boundary of one archive; what came before is good
            whole = ScanFile(uri=archive.uri, size_bytes=archive.size_bytes, version=archive.version)
            refused.append(_refused(self.path, [whole], as_refusal(err), identity=origin))
        return _index(files, archive, refused, origin=origin)


def _file_of(archive: Archive, member: ArchiveMember) -> ScanFile:
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
        other, kind = kind_of_other(name, file.size_bytes), kind_of(name)
        identity = f"{origin}\t{file.member}" if origin else name
        refusal = _misplaced(name, claims[name], archive)
        if refusal:
            entries.append(_refused(without_suffix(name), [file], refusal, identity=identity))
        elif kind is None or other == HIDDEN or (file.size_bytes < MIN_SCAN_BYTES and not has_telling_suffix(name)):
            n_ignored[other] += 1
        elif kind == "dicom":
            folders[posixpath.dirname(name)].append((name, file))
        else:
            entries.append(ScanEntry(path=without_suffix(name), identity=identity, kind=kind, files=(file,)))
    for folder, candidates in folders.items():
        found, strangers = _series(folder, candidates, archive, origin=origin)
        entries.extend(found)
        n_ignored.update(strangers)
    return ContainerIndex(entries=tuple(entries), archive=archive, n_ignored=dict(n_ignored))


def _misplaced(name: str, n_claims: int, archive: Archive | None) -> DataError | None:
    """Return why a member cannot be taken whatever it holds."""
    if n_claims > 1:
        return DataError(
            "duplicate_name",
            f"{n_claims} members have this name; which is meant cannot be known. Pack the archive anew.",
        )
    if packing_of(name) and archive:
        return DataError("nested_archive", "An archive lies in an archive; only one level is opened.")
    return None


@dataclass(frozen=True, slots=True)
class _Head:
    name: str
    file: ScanFile
    header: dicom.Header


def _series(
    folder: str, candidates: Sequence[tuple[str, ScanFile]], archive: Archive | None, *, origin: str
) -> tuple[list[ScanEntry], Counter[str]]:
    """Return the series among the files of a folder, and the kinds of files that neither are DICOM nor claim to be."""
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
            entries.append(_refused(without_suffix(name), [file], head, identity=f"{origin}\t{name}"))
    for uid, members in series.items():
        entries.append(_series_entry(folder, members, identity=f"{origin}\t{folder}\t{uid}"))
    return entries, strangers


def _head(file: ScanFile, archive: Archive | None) -> dicom.Header | DataError | str:
    """Return the header of a file, why it has none, or of a stranger what it is counted as."""
    try:
        head = read_head(archive, file)
        if not dicom.is_dicom(head):
            is_claimed = suffix_of(file.member or file.uri) in dicom.DICOM.suffixes
            claim = DataError("wrong_suffix", "The name says DICOM, the content does not.")
            return claim if is_claimed else kind_of_stranger(head)
        return dicom.read_header(head)
    except StorageError as err:
        if err.can_pass:
            raise
        return err.as_refusal()
    except Exception as err:  # noqa: BLE001 - the boundary of one file
        return as_refusal(err)


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
    except Exception as err:  # noqa: BLE001 - the boundary of one series
        return _refused(path, files, as_refusal(err), identity=identity, kind="dicom")
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


def _refused(
    path: str, files: Iterable[ScanFile], refusal: DataError, *, identity: str, kind: Kind = "raster"
) -> ScanEntry:
    return ScanEntry(
        path=path,
        identity=identity,
        kind=kind,
        files=tuple(files),
        error_code=refusal.code,
        error=refusal.sentence,
        where=refusal.where,
    )
