"""Archives on every store: any member is read in place, whatever lies before it."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tasks.core.errors import DataError, StorageError
from tasks.io import archives, storage
from tasks.io.archives import Archive, list_members, read_member

CONTENTS = {f"folder {n % 3}/file {n}.bin": bytes([n]) * (10_000 + 37 * n) for n in range(40)}


def _packed(packing: str) -> bytes:
    buffer = io.BytesIO()
    if packing == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in CONTENTS.items():
                packed.writestr(name, content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:gz" if packing == "tgz" else "w:") as packed:
        for name, content in CONTENTS.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _archive(root: str, packing: str, content: bytes) -> Archive:
    uri = storage.join(root, f"archive.{packing}")
    storage.publish(uri, content)
    return Archive(uri, len(content), "1", packing, storage.join(root, "points.gzidx"))  # type: ignore[arg-type]


@pytest.mark.parametrize("packing", ["zip", "tar", "tgz"])
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


@pytest.mark.parametrize("packing", ["zip", "tar", "tgz"])
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
