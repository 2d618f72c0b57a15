"""What only one kind of store can show: a disk that is full, forbidden, linked or shared, and prefixes with stars."""

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.core.errors import StorageError
from tasks.io import storage
from tests.io.stores import everything_below


@contextmanager
def _full_disk(limit_bytes: int = 16) -> Iterator[None]:
    """Let the kernel refuse every write beyond a few bytes, as a full disk does: the first bytes do land."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _no_privileges() -> Iterator[None]:
    """Stop being root for a moment, because permissions do not bind root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)  # nobody
    try:
        yield
    finally:
        if before == 0:
            os.seteuid(before)


# ---- a local disk --------------------------------------------------------------------------------------------------


def test_local_version_tells_changes_a_nanosecond_apart(tmp_path: Path) -> None:
    """A file of the same size changed one nanosecond later has another version."""
    file = tmp_path / "a.png"
    versions = []
    for mtime_ns in (1_700_000_000_000_000_000, 1_700_000_000_000_000_001):
        file.write_bytes(b"x")
        os.utime(file, ns=(mtime_ns, mtime_ns))
        versions.append(storage.list_objects(str(tmp_path))[0].version)
    assert versions == ["1:1700000000000000000", "1:1700000000000000001"]


def test_a_link_to_a_file_is_listed(tmp_path: Path) -> None:
    """A file behind a symbolic link is an object like any other, not silently missing."""
    (tmp_path / "data.bin").write_bytes(b"x")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.png").symlink_to(tmp_path / "data.bin")
    assert [o.path for o in storage.list_objects(str(tmp_path / "scans"))] == ["a.png"]


def test_what_is_no_file_is_not_listed(tmp_path: Path) -> None:
    """Dangling links and pipes are no objects and do not break the listing."""
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "a.png").write_bytes(b"x")
    assert [o.path for o in storage.list_objects(str(tmp_path))] == ["a.png"]


def test_an_empty_folder_lists_nothing(tmp_path: Path) -> None:
    """A folder without files exists, and holds no object."""
    assert storage.list_objects(str(tmp_path)) == []


def test_a_write_the_disk_refuses_leaves_the_old_object_whole(tmp_path: Path) -> None:
    """When the disk is full the old content stays, no part file is left, and the error is a StorageError."""
    target = tmp_path / "weights.h5"
    storage.publish(str(target), b"old")
    with pytest.raises(StorageError, match="Could not write") as caught, _full_disk():
        storage.publish(str(target), b"new" * 1000)
    assert not caught.value.can_pass  # waiting makes no space
    assert target.read_bytes() == b"old"
    assert everything_below(str(tmp_path)) == ["weights.h5"]


def test_a_create_the_disk_refuses_leaves_nothing(tmp_path: Path) -> None:
    """When the disk is full a create-only write leaves neither object nor part, and may be tried again."""
    target = str(tmp_path / "entry.json")
    with pytest.raises(StorageError, match="Could not create"), _full_disk():
        storage.create(target, b"new" * 1000)
    assert everything_below(str(tmp_path)) == []
    assert storage.create(target, b"new" * 1000)


def test_publishing_over_a_folder_is_refused_and_keeps_it(tmp_path: Path) -> None:
    """A folder in the place of an object gives a StorageError, and what it holds stays."""
    storage.publish(f"{tmp_path}/taken/a", b"kept")
    with pytest.raises(StorageError, match="Could not write"):
        storage.publish(f"{tmp_path}/taken", b"new")
    assert storage.read_bytes(f"{tmp_path}/taken/a") == b"kept"


def test_a_rename_that_fails_leaves_no_part_file(tmp_path: Path) -> None:
    """A publish that fails at its last step cleans up as one that fails at its first."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError):
        storage.publish(f"{tmp_path}/taken", b"new")
    assert everything_below(str(tmp_path)) == []


@pytest.mark.parametrize("write", [storage.publish, storage.create])
def test_writing_below_a_file_gives_a_storage_error(tmp_path: Path, write: Callable[[str, bytes], object]) -> None:
    """Where a file stands in the place of a folder, nothing can be written, and that is never reported as success."""
    storage.publish(f"{tmp_path}/file", b"kept")
    with pytest.raises(StorageError):
        write(f"{tmp_path}/file/below", b"new")


def test_reading_a_folder_gives_a_storage_error(tmp_path: Path) -> None:
    """A folder in the place of an object cannot be read, and the error says what it is."""
    with pytest.raises(StorageError, match="IsADirectoryError"):
        storage.read_bytes(str(tmp_path))


def test_no_permission_gives_a_storage_error_that_says_so(tmp_path: Path) -> None:
    """Reading and writing without permission give a StorageError about permission; the old content stays."""
    target = tmp_path / "folder" / "a"
    storage.publish(str(target), b"old")
    target.chmod(0o000)
    target.parent.chmod(0o555)
    with _no_privileges():
        for action in (storage.read_bytes, lambda uri: storage.publish(uri, b"new")):
            with pytest.raises(StorageError, match="no permission") as caught:
                action(str(target))
            assert not caught.value.can_pass
    target.parent.chmod(0o755)
    target.chmod(0o644)
    assert target.read_bytes() == b"old"
    assert everything_below(str(tmp_path)) == ["folder/a"]


def test_one_of_many_creators_wins(tmp_path: Path) -> None:
    """Of eight writers at once, exactly one creates the object, and its content is the one that stays."""
    target = str(tmp_path / "lock")
    start = threading.Barrier(8)

    def create(writer: int) -> bool:
        start.wait()
        return storage.create(target, f"writer {writer}".encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    assert storage.read_bytes(target) == f"writer {won.index(True)}".encode()
    assert everything_below(str(tmp_path)) == ["lock"]


def test_a_reader_never_sees_half_a_content(tmp_path: Path) -> None:
    """While an object is replaced again and again, every read gives one whole content."""
    target = str(tmp_path / "object")
    contents = {b"a" * 300_000, b"b" * 200_000}
    storage.publish(target, b"a" * 300_000)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [storage.publish(target, content) for content in [*contents] * 10])
        seen = [storage.read_bytes(target)]
        while not writing.done():
            seen.append(storage.read_bytes(target))
        writing.result()
    assert set(seen) <= contents


# ---- an object store -----------------------------------------------------------------------------------------------


def test_remove_tree_takes_its_prefix_literally() -> None:
    """On an object store a star in the prefix matches a star, nothing else."""
    folder = f"memory://remove-{time.time_ns()}"
    storage.publish(f"{folder}/run1/a", b"kept")
    storage.publish(f"{folder}/run*/a", b"x")
    storage.remove_tree(f"{folder}/run*")
    assert everything_below(folder) == ["run1/a"]
