"""Archives on every store: any member is read in place, whatever lies before it."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import DataError, StorageError
from tasks.io import archives, storage
from tasks.io.archives import Archive, ArchiveMember, list_members, read_member

CONTENTS = {f"folder {n % 3}/file {n}.bin": bytes([n]) * (10_000 + 37 * n) for n in range(40)}


TAR_MODES = {"tar": "w:", "tgz": "w:gz", "tbz": "w:bz2", "txz": "w:xz"}
PACKINGS = ["zip", *TAR_MODES]


def _packed(packing: str) -> bytes:
    buffer = io.BytesIO()
    if packing == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in CONTENTS.items():
                packed.writestr(name, content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode=TAR_MODES[packing]) as packed:
        for name, content in CONTENTS.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _archive(root: str, packing: str, content: bytes) -> Archive:
    uri = storage.join(root, f"archive.{packing}")
    storage.publish(uri, content)
    return Archive(uri, len(content), "1", packing, storage.join(root, "points.gzidx"))  # type: ignore[arg-type]


@pytest.mark.parametrize("packing", PACKINGS)
def test_members_are_read_in_any_order(root: str, packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of each member, whole or begun, is what was packed, last members first."""
    monkeypatch.setattr(archives, "SEEK_POINT_BYTES", 1 << 16)
    archive = _archive(root, packing, _packed(packing))
    members = list(list_members(archive))
    assert {member.name: member.size_bytes for member in members} == {n: len(c) for n, c in CONTENTS.items()}
    for member in reversed(members):
        assert read_member(archive, member) == CONTENTS[member.name]
        assert read_member(archive, member, 10) == CONTENTS[member.name][:10]


def test_a_tar_is_not_read_to_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing large members reads their headers; reading one reads that one."""
    content = bytes(4 << 20)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as packed:
        for number in range(8):
            info = tarfile.TarInfo(f"{number}.bin")
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    archive = _archive(str(tmp_path), "tar", buffer.getvalue())
    n_read = 0
    read_range = storage.read_range

    def counted(uri: str, start: int, n_bytes: int) -> bytes:
        nonlocal n_read
        found = read_range(uri, start, n_bytes)
        n_read += len(found)
        return found

    monkeypatch.setattr(storage, "read_range", counted)
    members = list(list_members(archive))
    assert n_read < len(content)
    assert read_member(archive, members[5]) == content
    assert n_read < 2 * len(content)


def test_an_object_that_shrank_is_a_truncated_archive(root: str) -> None:
    """A tar that was replaced by a shorter one gives a typed error, not wrong bytes."""
    archive = _archive(root, "tar", _packed("tar"))
    last = list(list_members(archive))[-1]
    storage.publish(archive.uri, _packed("tar")[:2000])
    with pytest.raises((DataError, StorageError)) as caught:
        read_member(archive, last)
    assert getattr(caught.value, "code", None) == "truncated_archive" or not getattr(caught.value, "can_pass", True)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("what", ["listing", "reading"])
def test_a_fault_of_the_store_is_not_taken_for_damage(
    root: str, packing: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archive libraries swallow or rename what a read raises; a scan must not be refused for good over that."""
    archive = _archive(root, packing, _packed(packing))
    member = list(list_members(archive))[-1]
    archives._open_zip.cache_clear()
    archives._open_gzip.cache_clear()

    def fail(*_: object) -> bytes:
        raise StorageError("503")

    monkeypatch.setattr(storage, "read_range", fail)
    with pytest.raises(StorageError):
        list(list_members(archive)) if what == "listing" else read_member(archive, member)


def test_a_gzip_that_was_replaced_after_it_was_listed_has_changed(root: str) -> None:
    """Its seek points belong to other bytes: one scan that is tried again, not the end of the run."""
    archive = _archive(root, "tgz", _packed("tgz"))
    last = list(list_members(archive))[-1]
    archives._open_gzip.cache_clear()
    storage.publish(archive.uri, b"another" + _packed("tgz"))
    with pytest.raises(StorageError) as caught:
        read_member(archive, last)
    assert caught.value.code == "changed"


def _header(name: str, size: int, kind: bytes = b"0", size_field: bytes | None = None, extra: bytes = b"") -> bytes:
    head = bytearray(512)  # POSIX ustar
    head[: len(name)] = name.encode()
    head[100:124] = b"0000644\0" + b"0000000\0" * 2
    head[124:136] = size_field or b"%011o\0" % size
    head[136:148], head[156:157], head[257:265] = b"%011o\0" % 0, kind, b"ustar\x0000"
    head[345 : 345 + len(extra)] = extra
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def _member(name: str, content: bytes, kind: bytes = b"0") -> bytes:
    return _header(name, len(content), kind) + content + bytes(-len(content) % 512)


def _binary(number: int) -> bytes:
    """Return a size as GNU tar writes large ones, two's complement for negative ones."""
    return b"\x80" + number.to_bytes(11, "big") if number >= 0 else b"\xff" + (number % 256**11).to_bytes(11, "big")


GOOD, END = _member("good.png", b"good"), bytes(1024)
PAX_SIZE = b"13 size=-512\n"
BEYOND = {
    "an extended header of 2^60 bytes": _header("p", 0, b"x", _binary(1 << 60)),
    "a long name of 2^60 bytes": _header("p", 0, b"L", _binary(1 << 60)),
    "a header of a negative size": _header("p", 0, b"x", _binary(-512)),
    "a member of a negative size": _header("a.png", 0, b"0", _binary(-1024)),
    "a negative size in a pax header": _member("p", PAX_SIZE, b"x") + _member("a.png", b""),
    "a chain of long names": _member("p", b"a.png", b"L") * 1500,
    "a chain of pax headers": _member("p", b"11 path=a\n", b"x") * 1500,
    "global headers without end": _member("p", b"x" * (1 << 16), b"g") * 20,
    "a number of 300,000 digits": _member("p", b"1" * 300_000, b"x"),
    "a sparse map without end": _header("a.png", 0, b"S", extra=bytes(137) + b"\1")
    + (bytes(504) + b"\1" + bytes(7)) * 5000,
}


@pytest.mark.parametrize("packing", ["tar", "tgz"])
@pytest.mark.parametrize("kind", BEYOND)
def test_headers_beyond_the_bounds_are_a_corrupt_archive(kind: str, packing: str, tmp_path: Path) -> None:
    """Whatever a header claims of its size, number or place: what came before is listed, the archive is refused."""
    content = GOOD + BEYOND[kind] + _member("after.png", b"after") + END
    archive = _archive(str(tmp_path), packing, gzip.compress(content) if packing == "tgz" else content)
    found: list[str] = []
    with pytest.raises(DataError) as caught:
        found.extend(member.name for member in _until_refused(archive, found))
    assert caught.value.code == "corrupt_archive"
    assert found == ["good.png"]


def _until_refused(archive: Archive, found: list[str]) -> Iterator[ArchiveMember]:
    for member in list_members(archive):
        found.append(member.name)
    return
    yield


def test_a_sparse_member_is_refused_and_the_rest_is_listed(tmp_path: Path) -> None:
    """A sparse file, of either format, is no scan; the members around it are."""
    old = _header("old.png", 512, b"S", extra=bytes(137) + b"\0") + bytes(512)
    new = _member("p", b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n", b"x") + _member(
        "new.png", b"1\n" + bytes(600)
    )
    archive = _archive(str(tmp_path), "tar", GOOD + old + new + _member("after.png", b"after") + END)
    members = {member.name: member for member in list_members(archive)}
    assert list(members) == ["good.png", "old.png", "new.png", "after.png"]
    assert [name for name, member in members.items() if member.refused] == ["old.png", "new.png"]
    assert read_member(archive, members["after.png"]) == b"after"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./a/b.png", "a/b.png"),
        ("a//b.png", "a/b.png"),
        ("a/./b.png", "a/b.png"),
        ("a\\b.png", "a/b.png"),
        ("./b", "b"),
    ],
)
def test_a_members_path_is_the_same_however_it_was_spelled(name: str, path: str) -> None:
    """Dots, doubled and backward slashes of a packer do not make another path."""
    assert ArchiveMember(name, 1).path == path
