"""Listing of a collection: slice and volume files, DICOM series in folders, and all of these in archives."""

import hashlib
import math
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from tasks.core.digests import digest
from tasks.core.errors import NOT_SCAN_CODES
from tasks.core.plural import counted
from tasks.core.reader_version import READER_VERSION
from tasks.core.scan_entries import ScanEntry, common_folder
from tasks.io.file_names import BAD_NAME, is_plain, shown, told_apart
from tasks.io.file_roles import data_files, is_picture, pictures_on_discs, role_of
from tasks.io.formats import KINDS, without_suffix
from tasks.io.other_files import HIDDEN, PICTURE, kind_unless_young, warnings_of
from tasks.io.packings import packing_of
from tasks.io.pseudonyms import Seal
from tasks.io.scan_index import ContainerIndex, read_index
from tasks.io.scan_sources import Container, ScanSource
from tasks.io.sealed_file import SealedFile
from tasks.io.stored_objects import StoredObject, fingerprint, is_utf8

MAX_ID_BYTES = 180
"""Largest scan id: a file name may have 255 bytes (POSIX NAME_MAX), with suffixes and a temporary mark."""

SPLIT: Final = (
    "Slices of the same series also lie in another archive, or in a folder beside it; only folders are joined. This "
    "scan may be a part, or a copy."
)
UPLOADING: Final = "More slices of the same series may still be uploading; a later run takes all together."
OF_LISTING: Final = frozenset({SPLIT, UPLOADING})
"""Warnings that depend on what lies beside a scan, and so on the night."""

LINK: Final = "A link to a folder, or out of the folder of the scans, is not followed; put the files themselves there."

MAX_WAIT_S: Final = 24 * 3600
"""Age from which a scan waits no longer for the rest of its series: files may be added to it every night."""


@dataclass(slots=True)
class Survey:
    """Result of listing a collection; scans of containers are added as these are opened.

    Attributes:
        sources: Scans, without ids.
        containers: Archives, and folders of DICOM files.
        n_ignored: Number of files that are no scans, by kind (`other_files`).
        n_objects: Number of objects, without those of other runs.
        n_of_runs: Number of files that other runs wrote.
        split: Series of which slices lie in several containers that are not opened together.
        uploading: Series of which slices may still be uploading.
        youngest_s: Time of change after which an object may still be uploading.
    """

    sources: list[ScanSource] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    n_ignored: Counter[str] = field(default_factory=Counter)
    n_objects: int = 0
    n_of_runs: int = 0
    split: Set[str] = frozenset()
    uploading: Set[str] = frozenset()
    youngest_s: float = math.inf

    def warnings(self) -> Iterator[str]:
        """Yield a warning about each there is: nothing at all, ignored files, files of other runs, series in parts."""
        if not self.n_objects:
            yield "The scans' address holds no files. Check it, if there should be some."
        yield from warnings_of(self.n_ignored)
        if self.n_of_runs:
            yield f"{counted(self.n_of_runs, 'file')} in the outputs of other runs are no scans and were left alone."
        if self.split:
            yield f"{counted(len(self.split), 'series', 'series')} over archives: the parts are scans of their own."

    def add_index(self, container: Container, index: ContainerIndex, kept: SealedFile) -> None:
        """Add the scans of a container."""
        self.n_ignored.update(index.n_ignored)
        for number, entry in enumerate(index.entries):
            source = ScanSource.of_entry(entry, number, kept, container)
            if entry.error_code not in NOT_SCAN_CODES:
                source = self._beside_others(source, entry.series, container)
            self.sources.append(source)

    def _beside_others(self, source: ScanSource, series: str, container: Container) -> ScanSource:
        """Return a scan with what is to be said or done because of other slices of its series."""
        if series in self.split:
            source = replace(source, warnings=(SPLIT, *source.warnings))
        if series in self.uploading and not container.is_archive:
            waits = container.is_after(self.youngest_s - MAX_WAIT_S)
            source = replace(source, warnings=(UPLOADING, *source.warnings), waits=waits)
        return source

    def add_unopened(self, container: Container) -> None:
        """Add a container that is too young to be opened, as one scan."""
        self.sources.append(
            ScanSource(
                container.path or "series",
                container.identity,
                container.objects[0].uri,
                container.fingerprint,
                "dicom",
                modified_s=container.modified_s,
            )
        )

    def leave_pictures(self, indexes: Iterable[ContainerIndex]) -> None:
        """Leave alone pictures that came with DICOM slices: below a DICOMDIR, or in a folder that holds a series."""
        folders = {
            posixpath.dirname(file.uri)
            for index in indexes
            if index.archive is None
            for entry in index.entries
            if entry.kind == "dicom" and not entry.error_code
            for file in entry.files
        }
        kept = []
        for source in self.sources:
            is_in_series = (
                source.file is not None and posixpath.dirname(source.uri) in folders and is_picture(source.uri)
            )
            if source.is_beside_dicom or is_in_series:
                self.n_ignored[PICTURE] += 1
            else:
                kept.append(source)
        self.sources = kept

    def scans(self, seal: Seal | None = None) -> list[ScanSource]:
        """Return every scan with its id, sorted by it.

        Args:
            seal: Key for hashed ids and encrypted URIs.
        """
        if seal:
            named = [_sealed(source, seal) for source in self.sources]
        else:
            claims = Counter(_plain_id(source.path) for source in self.sources if not _is_unread(source))
            claims_of_all = Counter(_plain_id(source.path) for source in self.sources)
            named = [_named(source, claims_of_all if _is_unread(source) else claims) for source in self.sources]
        return sorted(named, key=lambda scan: scan.scan_id)


def survey(objects: Iterable[StoredObject], youngest_s: float = math.inf) -> Survey:
    """Return the scans and containers among the objects of a collection.

    Args:
        objects: Objects of the collection, without those that runs wrote there.
        youngest_s: Time of change after which an object may still be uploading.
    """
    found = Survey(youngest_s=youngest_s)
    folders: dict[str, list[StoredObject]] = defaultdict(list)
    by_path = {o.path: o for o in objects}
    found.n_objects = len(by_path)
    data_of = data_files(by_path)
    claimed, pictures = set(data_of.values()), pictures_on_discs({o.path: o.size_bytes for o in by_path.values()})
    for path, o in by_path.items():
        if path in claimed:
            continue
        role = role_of(path, o.size_bytes)
        if not is_utf8(o.uri) or not (is_plain(path) or (role.ignored and not packing_of(path))):
            found.sources.append(_bad_name(o))
        elif (o.is_elsewhere or (path in data_of and by_path[data_of[path]].is_elsewhere)) and role.ignored != HIDDEN:
            found.sources.append(replace(ScanSource.of_object(o), refused=("unsafe_member", LINK)))
        elif packing_of(path):
            found.containers.append(Container(without_suffix(path), (o,)))
        elif role.refused:
            source = ScanSource.of_object(o, is_beside_dicom=path in pictures)
            found.sources.append(replace(source, refused=role.refused))
        elif role.kind is None:
            is_young = o.modified_s is not None and o.modified_s > youngest_s
            found.n_ignored[kind_unless_young(role.ignored, is_young=is_young)] += 1
        elif role.kind == "dicom":
            folders[posixpath.dirname(path)].append(o)
        else:
            voxels = by_path.get(data_of.get(path, ""))
            found.sources.append(ScanSource.of_object(o, kind=role.kind, data=voxels, is_beside_dicom=path in pictures))
    found.containers.extend(Container(folder, tuple(objects)) for folder, objects in folders.items())
    return found


def index_key(container: Container) -> str:
    """Return the key of a container's index; it changes with the content, the reader version and the known formats."""
    return digest(files=container.fingerprint, reader_version=READER_VERSION, kinds=sorted(KINDS))


def merged_by_series(indexes: Mapping[Container, ContainerIndex]) -> list[Container]:
    """Return containers, with folders that hold slices of the same series merged into one."""
    group_of: dict[Container, list[Container]] = {container: [container] for container in indexes}
    first_with: dict[str, Container] = {}
    for container, index in indexes.items():
        for series in {entry.series for entry in index.entries if entry.series and index.archive is None}:
            first = first_with.setdefault(series, container)
            group, other = group_of[first], group_of[container]
            if group is not other:
                group.extend(other)
                group_of.update(dict.fromkeys(other, group))
    groups = {id(group): group for group in group_of.values()}
    return [group[0] if len(group) == 1 else _merged(group) for group in groups.values()]


def series_apart(indexes: Iterable[ContainerIndex]) -> set[str]:
    """Return the series that lie in several containers; folders of one series are one by then."""
    holders = Counter(series for index in indexes for series in series_in(index))
    return {series for series, n_containers in holders.items() if n_containers > 1}


def series_in(index: ContainerIndex) -> set[str]:
    """Return the series of a container, without those that are no scans."""
    return {entry.series for entry in index.entries if entry.series and entry.error_code not in NOT_SCAN_CODES}


def _merged(folders: Sequence[Container]) -> Container:
    objects = sorted((o for folder in folders for o in folder.objects), key=lambda o: o.path)
    return Container(common_folder([folder.path for folder in folders]), tuple(objects))


def entry_of(scan: ScanSource) -> tuple[ContainerIndex, ScanEntry]:
    """Return the entry of a scan in its container's index, and that index."""
    if scan.index is None:
        files = tuple(file for file in (scan.file, scan.data) if file)
        entry = ScanEntry(path="", identity="", kind=scan.kind, files=files)
        return ContainerIndex(entries=(entry,)), entry
    kept, number = scan.index
    index = _read_index(kept)
    return index, index.entries[number]


@lru_cache(4)
def _read_index(kept: SealedFile) -> ContainerIndex:
    return read_index(kept)


def _bad_name(o: StoredObject) -> ScanSource:
    """Return an object whose name cannot be stored in a table, or could change the page that shows it, as rejected."""
    path, uri = shown(o.path), shown(o.uri)
    content = fingerprint([replace(o, uri=uri)])
    source = ScanSource(without_suffix(path), told_apart(o.path), uri, content, "raster", modified_s=o.modified_s)
    return replace(source, refused=("bad_name", BAD_NAME))


def _sealed(source: ScanSource, seal: Seal) -> ScanSource:
    """Return a scan with a hashed id and a hashed fingerprint, which would identify a known file."""
    return replace(
        source,
        path="",
        identity="",
        scan_id=seal.id_of(source.identity),
        uri=seal.close_text(source.uri),
        fingerprint=seal.id_of(source.fingerprint),
    )


def _named(source: ScanSource, claims: Mapping[str, int]) -> ScanSource:
    plain = _plain_id(source.path)
    is_alone = claims[plain] == 1 and len(plain.encode()) <= MAX_ID_BYTES
    scan_id = plain if is_alone else _hashed_id(plain, source.identity)
    return replace(source, path="", identity="", scan_id=scan_id)


def _is_unread(source: ScanSource) -> bool:
    """Return whether a source is a file of a format that is not read, which changes the id of no scan beside it."""
    return source.refused is not None and source.refused[0] == "unsupported_format"


def _plain_id(path: str) -> str:
    return path.replace("/", "__").encode("utf-8", "backslashreplace").decode()


def _hashed_id(plain: str, identity: str) -> str:
    shortened = plain.encode()[:MAX_ID_BYTES].decode(errors="ignore")
    return f"{shortened}-{hashlib.sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
