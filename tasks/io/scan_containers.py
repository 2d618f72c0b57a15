"""Opening of containers (archives, and folders of DICOM files): index of the scans in them."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence

from tasks.core.errors import DataError, StorageError, as_refusal
from tasks.core.scan_entries import ScanEntry, ScanFile
from tasks.io.archives import Archive, ArchiveMember, list_members
from tasks.io.dicom_series import series_among
from tasks.io.file_roles import data_files, is_picture, pictures_on_discs, role_of
from tasks.io.formats import shown_formats, without_suffix
from tasks.io.other_files import BARE, n_possible_scans, shown
from tasks.io.packings import SHOWN_PACKINGS, SNIFFED_BYTES, Packing, packing_in, packing_of, unread_packing_in
from tasks.io.scan_index import ContainerIndex, read_file
from tasks.io.scan_sources import Container
from tasks.io.stored_objects import StoredObject
from tasks.io.time_limit import note_progress


def open_container(container: Container, seek_points_uri: str) -> ContainerIndex:
    """Return the index of a container, by reading it.

    Args:
        container: An archive, or the DICOM files of a folder.
        seek_points_uri: URI for the seek points of a gzipped tar.

    Raises:
        StorageError: If it is gone or the store does not answer.
    """
    found = _open_archive(container, seek_points_uri) if container.is_archive else _open_folder(container)
    is_empty = container.is_archive and not found.n_ignored
    n_possible = n_possible_scans(found.n_ignored) if container.is_archive else found.n_ignored.get(BARE, 0)
    if not found.entries and (is_empty or n_possible):
        what = f"Nothing in it is read as a scan: {shown(found.n_ignored)}." if found.n_ignored else "It is empty."
        rejected = reject_container(container, DataError("no_scan", f"{what} Send {shown_formats()}."))
        return rejected.model_copy(update={"n_ignored": found.n_ignored})
    return found


def open_or_reject(container: Container, seek_points_uri: str) -> ContainerIndex:
    """Return the index of a container; if it cannot be read, the container is one rejected scan."""
    try:
        return open_container(container, seek_points_uri)
    except StorageError as err:  # its message names the object
        return reject_container(container, err.as_refusal())
    except Exception as err:  # noqa: BLE001 - the boundary of one archive
        return reject_container(container, as_refusal(err))


def reject_container(container: Container, refusal: DataError) -> ContainerIndex:
    """Return the index of a container that is one rejected scan."""
    path, identity = container.path or "series", container.identity
    return ContainerIndex(entries=(ScanEntry.rejected(path, _files(container), refusal, identity=identity),))


def _files(container: Container) -> list[ScanFile]:
    return [ScanFile(uri=o.uri, size_bytes=o.size_bytes, version=o.version) for o in container.objects]


def _open_folder(container: Container) -> ContainerIndex:
    names = [o.path for o in container.objects]
    return _index(list(zip(names, _files(container), strict=True)), None, [], origin="")


def _open_archive(container: Container, seek_points_uri: str) -> ContainerIndex:
    [found] = container.objects
    archive = Archive(found.uri, found.size_bytes, found.version, _packing(found), seek_points_uri)
    files, rejected, origin = [], [], found.path
    try:
        for member in list_members(archive):
            note_progress()
            file, path = _file_of(archive, member), f"{container.path}/{member.path}"
            if member.refused:
                refusal, identity = DataError(*member.refused), f"{origin}\t{member.identity or member.name}"
                rejected.append(ScanEntry.rejected(without_suffix(path), [file], refusal, identity=identity))
            else:
                files.append((path, file))
    except Exception as err:  # noqa: BLE001 - the boundary of one archive; members before it are good
        rejected.append(ScanEntry.rejected(container.path, _files(container), as_refusal(err), identity=origin))
    return _index(files, archive, rejected, origin=origin)


def _packing(found: StoredObject) -> Packing:
    """Return the packing of an archive by its content; where that shows none, by its name.

    Raises:
        DataError: `empty_file`, or `unsupported_format` if it is an archive of another kind.
    """
    head = read_file(None, ScanFile(uri=found.uri, size_bytes=found.size_bytes, version=found.version), SNIFFED_BYTES)
    unread = unread_packing_in(head)
    if unread:
        raise DataError("unsupported_format", f"It is a {unread} archive. Send it as one of {SHOWN_PACKINGS}.")
    return packing_in(head) or packing_of(found.path) or "tar"


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
    """Return files as scans; `origin` is the path of the archive, to distinguish its members from files beside it."""
    n_ignored: Counter[str] = Counter()
    candidates: list[tuple[str, ScanFile]] = []
    loose: dict[str, ScanEntry] = {}
    claims = Counter(name for name, _ in files)
    by_name = dict(files)
    data_of = data_files(by_name)
    claimed = set(data_of.values())
    for name, file in by_name.items():
        if name in claimed:
            continue
        role = role_of(name, file.size_bytes)
        path, identity = without_suffix(name), f"{origin}\t{file.member}" if origin else name
        refusal = _misplaced(name, claims[name], archive) or (DataError(*role.refused) if role.refused else None)
        if refusal:
            loose[name] = ScanEntry.rejected(path, [file], refusal, identity=identity)
        elif role.kind is None:
            n_ignored[role.ignored] += 1
        elif role.kind == "dicom":
            candidates.append((name, file))
        else:
            held = (file, by_name[data_of[name]]) if name in data_of else (file,)
            loose[name] = ScanEntry(path=path, identity=identity, kind=role.kind, files=held)
    found, strangers = series_among(candidates, archive, origin=origin)
    n_ignored.update(strangers)
    on_discs = pictures_on_discs({name: file.size_bytes for name, file in by_name.items()})
    pictures = on_discs | _pictures_beside(found, candidates, loose)
    marked = [
        entry.model_copy(update={"is_beside_dicom": True}) if name in pictures else entry
        for name, entry in loose.items()
    ]
    return ContainerIndex(entries=(*entries, *marked, *found), archive=archive, n_ignored=dict(n_ignored))


def _pictures_beside(
    series: Sequence[ScanEntry], candidates: Sequence[tuple[str, ScanFile]], names: Iterable[str]
) -> set[str]:
    """Return the pictures in folders that hold slices of a series."""
    slices = {file for entry in series if not entry.error_code for file in entry.files}
    folders = {posixpath.dirname(name) for name, file in candidates if file in slices}
    return {name for name in names if is_picture(name) and posixpath.dirname(name) in folders}


def _misplaced(name: str, n_claims: int, archive: Archive | None) -> DataError | None:
    """Return why a member is refused whatever its content."""
    if n_claims > 1:
        return DataError(
            "duplicate_name",
            f"{n_claims} members have this name; which is meant cannot be known. Pack the archive anew.",
        )
    if packing_of(name) and archive:
        return DataError("nested_archive", "An archive lies in an archive; only one level is opened.")
    return None
