"""The scans below a URI: slices and volumes of a file each, DICOM series of folders, and all of these in archives."""

import hashlib
import math
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tasks.core.addresses import shown_uri
from tasks.core.errors import ConfigError, ErrorCode
from tasks.core.plural import counted
from tasks.io import storage
from tasks.io.archives import packing_of
from tasks.io.formats import has_telling_suffix, kind_of, without_suffix
from tasks.io.formats.format import Kind
from tasks.io.other_files import MIN_SCAN_BYTES, kind_of_other, kind_unless_young, warnings_of
from tasks.io.outputs.ownership import MARK, is_part_of_output, is_written_by, outputs_among
from tasks.io.pseudonyms import Seal
from tasks.io.scan_containers import Container
from tasks.io.scan_index import ContainerIndex, IndexFile, ScanEntry, ScanFile
from tasks.io.stored_objects import StoredObject, fingerprint, is_utf8

MAX_ID_BYTES = 180
"""A file name may have 255 (POSIX NAME_MAX); masks, previews and ledger entries add suffixes and a temporary mark."""


@dataclass(frozen=True, slots=True)
class ScanSource:
    """A scan as listed.

    Attributes:
        scan_id: Relative path without suffix, `/` as `__`; a hash is added only where two scans would share it. With
            a seal, a hash of the path and nothing else.
        uri: Where its bytes lie; of a member, the archive's and `!/` and its path there; of a series, its folder's.
            With a seal, closed with it.
        fingerprint: Changes when the content does.
        kind: What reads it.
        n_slices: As far as is known before it is read.
        modified_s: Time of its last change, seconds since the epoch; None where the store does not say.
        file: The one file it is, where it is no part of a container.
        index: Where its container's index lies, and its number in it.
        refused: Why it is set aside without being read.
        can_be_cut: Whether a run of its slices can be read without the others.
        piece: The slices meant, first and behind the last; None for all.
        parts: Of a stack its slices, in order.
        warnings: What a reader should know, as far as the listing shows.
    """

    scan_id: str
    uri: str
    fingerprint: str
    kind: Kind
    n_slices: int
    modified_s: float | None
    file: ScanFile | None = None
    index: tuple[IndexFile, int] | None = None
    refused: tuple[ErrorCode, str] | None = None
    can_be_cut: bool = False
    piece: tuple[int, int] | None = None
    parts: tuple["ScanSource", ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A scan that has no id yet.

    Attributes:
        path: What its id is made of.
        identity: What tells it from another of the same path.
        source: The rest; its `scan_id` is empty.
    """

    path: str
    identity: str
    source: ScanSource

    @classmethod
    def of_entry(cls, entry: ScanEntry, number: int, kept: IndexFile, container: Container) -> "Draft":
        """Return a scan of a container."""
        file = entry.files[0]
        uri = f"{file.uri}!/{file.member}" if file.member else file.uri
        if entry.kind == "dicom" and not entry.error_code:
            uri = posixpath.dirname(uri)
        refused = (entry.error_code, entry.error or "") if entry.error_code else None
        source = ScanSource(
            scan_id="",
            uri=uri,
            fingerprint=entry.fingerprint,
            kind=entry.kind,
            n_slices=entry.n_slices,
            modified_s=container.modified_s,
            index=(kept, number),
            refused=refused,
            can_be_cut=entry.can_be_cut,
        )
        return cls(entry.path, entry.identity, source)


@dataclass(slots=True)
class Survey:
    """What a listing shows before anything is opened.

    Attributes:
        drafts: Scans of a file each.
        containers: Archives, and folders of DICOM files.
        n_ignored: Files that are no scans, by what they are counted as (`other_files`).
        n_objects: Of any kind, without those of other runs.
        n_of_runs: Files that other runs wrote.
    """

    drafts: list[Draft] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    n_ignored: Counter[str] = field(default_factory=Counter)
    n_objects: int = 0
    n_of_runs: int = 0

    def warnings(self) -> Iterator[str]:
        """Yield a sentence on each sort of files that were left alone."""
        yield from warnings_of(self.n_ignored)
        if self.n_of_runs:
            yield f"{counted(self.n_of_runs, 'file')} in the outputs of other runs are no scans and were left alone."

    def add_index(self, container: Container, index: ContainerIndex, kept: IndexFile) -> None:
        """Add the scans of a container."""
        self.n_ignored.update(index.n_ignored)
        for number, entry in enumerate(index.entries):
            self.drafts.append(Draft.of_entry(entry, number, kept, container))

    def add_unopened(self, container: Container) -> None:
        """Add a container as if it were one scan: it is too young to be opened."""
        o = container.objects[0]
        source = ScanSource("", o.uri, container.key, "dicom", 1, container.modified_s)
        self.drafts.append(Draft(container.path or "series", container.identity, source))

    def scans(self, seal: Seal | None = None) -> list[ScanSource]:
        """Return every scan that is known, with its id, sorted by it.

        Args:
            seal: Keeps names from readers of ids and URIs.
        """
        if seal:
            named = [
                replace(
                    draft.source,
                    scan_id=seal.id_of(draft.identity),
                    uri=seal.close_text(draft.source.uri),
                    fingerprint=seal.id_of(draft.source.fingerprint),  # else who has the file could tell that it is it
                )
                for draft in self.drafts
            ]
            return sorted(named, key=lambda scan: scan.scan_id)
        claims = Counter(_plain_id(draft.path) for draft in self.drafts)
        named = []
        for draft in self.drafts:
            plain = _plain_id(draft.path)
            is_alone = claims[plain] == 1 and len(plain.encode()) <= MAX_ID_BYTES
            named.append(replace(draft.source, scan_id=plain if is_alone else _hashed_id(plain, draft.identity)))
        return sorted(named, key=lambda scan: scan.scan_id)


def survey(uri: str, youngest_s: float = math.inf) -> Survey:
    """Return what lies below a URI; what other runs of ours wrote there are no scans.

    Args:
        uri: The collection.
        youngest_s: Time of change after which an object may still be uploading.

    Raises:
        ConfigError: If the URI is itself an output, or the masks or previews of one.
        StorageError: If nothing exists there.
    """
    objects = storage.list_objects(uri, hidden=MARK)
    roots = outputs_among(objects)
    kept = [o for o in objects if not any(is_written_by(root, o.path) for root in roots)]
    if is_part_of_output(uri) or ("" in roots and not kept):
        raise ConfigError(f"{shown_uri(uri)} is the output of a run or part of one. Name the scans themselves.")
    found = Survey(n_objects=len(kept), n_of_runs=len(objects) - len(kept))
    folders: dict[str, list[StoredObject]] = defaultdict(list)
    for o in kept:
        kind = kind_of(o.path)
        if not is_utf8(o.uri):
            found.drafts.append(_bad_name(o))
        elif packing_of(o.path):
            found.containers.append(Container(without_suffix(o.path), (o,)))
        elif kind is None or (o.size_bytes < MIN_SCAN_BYTES and not has_telling_suffix(o.path)):
            is_young = o.modified_s is not None and o.modified_s > youngest_s
            found.n_ignored[kind_unless_young(kind_of_other(o.path, o.size_bytes), is_young=is_young)] += 1
        elif kind == "dicom":
            folders[posixpath.dirname(o.path)].append(o)
        else:
            found.drafts.append(_draft(o, kind))
    found.containers.extend(Container(folder, tuple(objects)) for folder, objects in folders.items())
    return found


def _bad_name(o: StoredObject) -> Draft:
    """Return an object whose name no table or manifest can hold as a scan that is set aside."""
    path, uri = (text.encode("utf-8", "backslashreplace").decode() for text in (o.path, o.uri))
    sentence = "The name of the file is not UTF-8; rename it."
    content = fingerprint([replace(o, uri=uri)])
    return Draft(
        without_suffix(path),
        path,
        ScanSource("", uri, content, "raster", 1, o.modified_s, refused=("bad_name", sentence)),
    )


def _draft(o: StoredObject, kind: Kind) -> Draft:
    file = ScanFile(uri=o.uri, size_bytes=o.size_bytes, version=o.version)
    entry = ScanEntry(path=without_suffix(o.path), identity=o.path, kind=kind, files=(file,))
    source = ScanSource("", o.uri, entry.fingerprint, kind, 1, o.modified_s, file=file)
    return Draft(entry.path, entry.identity, source)


def _plain_id(path: str) -> str:
    return path.replace("/", "__").encode("utf-8", "backslashreplace").decode()


def _hashed_id(plain: str, identity: str) -> str:
    shortened = plain.encode()[:MAX_ID_BYTES].decode(errors="ignore")
    return f"{shortened}-{hashlib.sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
