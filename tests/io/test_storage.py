"""The contract of every store, then what only a local disk, an object store or a web server can show."""

import hashlib
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from tasks.core.errors import ConfigError, StorageError
from tasks.io import storage

SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


def _everything_below(root: str) -> list[str]:
    """Return the names of all objects below a prefix, hidden ones too."""
    fs, path = fsspec.core.url_to_fs(root)
    return sorted(str(name).removeprefix(path).lstrip("/") for name in fs.find(path))


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


# ---- the contract of every store -----------------------------------------------------------------------------------


def test_publish_returns_the_digest_and_the_content_reads_back(root: str) -> None:
    """What was published is read back byte for byte, and its sha256 is handed out."""
    assert storage.publish(f"{root}/a/b.bin", b"abc") == SHA256_OF_ABC
    assert storage.read_bytes(f"{root}/a/b.bin") == b"abc"


def test_an_empty_object_is_an_object(root: str) -> None:
    """Zero bytes are published, listed and read like any other content."""
    storage.publish(f"{root}/empty", b"")
    assert storage.read_bytes(f"{root}/empty") == b""
    assert [(o.path, o.size_bytes) for o in storage.list_objects(root)] == [("empty", 0)]


def test_publish_replaces_the_whole_object(root: str) -> None:
    """A shorter content leaves nothing of the longer one it replaces."""
    storage.publish(f"{root}/card.json", b"a long first content")
    storage.publish(f"{root}/card.json", b"short")
    assert storage.read_bytes(f"{root}/card.json") == b"short"


def test_publish_and_create_leave_nothing_temporary(root: str) -> None:
    """After writing, exactly the named objects exist, hidden ones counted."""
    storage.publish(f"{root}/a", b"1")
    storage.publish(f"{root}/a", b"2")
    storage.create(f"{root}/b", b"1")
    storage.create(f"{root}/b", b"2")
    assert _everything_below(root) == ["a", "b"]


def test_create_refuses_the_second_writer(root: str) -> None:
    """The first writer of a create-only object wins, and its content stays."""
    assert storage.create(f"{root}/ledger/entry.json", b"first")
    assert not storage.create(f"{root}/ledger/entry.json", b"second")
    assert storage.read_bytes(f"{root}/ledger/entry.json") == b"first"


def test_create_refuses_what_publish_wrote(root: str) -> None:
    """A create-only write never replaces a published object."""
    storage.publish(f"{root}/lock", b"held")
    assert not storage.create(f"{root}/lock", b"stolen")
    assert storage.read_bytes(f"{root}/lock") == b"held"


def test_listing_is_sorted_by_relative_path(root: str) -> None:
    """Objects are listed by path below the prefix, in the order of those paths, whatever the order of writing."""
    for path in ("b.png", "a/z.png", "a.png", "a/b/c.png", "a-1.png"):
        storage.publish(f"{root}/{path}", b"x")
    assert [o.path for o in storage.list_objects(root)] == ["a-1.png", "a.png", "a/b/c.png", "a/z.png", "b.png"]


def test_listing_gives_size_time_and_a_uri_that_reads_back(root: str) -> None:
    """A listed object has its size, a time of change of about now, and a full URI that reads it."""
    storage.publish(f"{root}/a/b.png", b"12345")
    [found] = storage.list_objects(root)
    assert found.size_bytes == 5
    assert found.modified_s == pytest.approx(time.time(), abs=60)
    assert "://" in found.uri
    assert storage.read_bytes(found.uri) == b"12345"
    assert found.uri == storage.absolute(f"{root}/a/b.png")


@pytest.mark.parametrize("hidden", [".DS_Store", "a/.hidden.png", ".git/config", "a/.part/b.png"])
def test_listing_hides_dot_files(root: str, hidden: str) -> None:
    """Neither hidden files nor files in hidden folders are listed."""
    storage.publish(f"{root}/{hidden}", b"x")
    storage.publish(f"{root}/a/seen.png", b"x")
    assert [o.path for o in storage.list_objects(root)] == ["a/seen.png"]


def test_listing_below_a_hidden_folder_shows_its_files(root: str) -> None:
    """Only what is hidden below the prefix is left out; the prefix itself may lie in a hidden folder."""
    storage.publish(f"{root}/.cache/lesions/a.png", b"x")
    assert [o.path for o in storage.list_objects(f"{root}/.cache/lesions")] == ["a.png"]


def test_listing_stays_inside_the_prefix(root: str) -> None:
    """A sibling whose name starts with the prefix's is not below it, with or without a trailing slash."""
    storage.publish(f"{root}/scans/a.png", b"x")
    storage.publish(f"{root}/scans-old/b.png", b"x")
    assert [o.path for o in storage.list_objects(f"{root}/scans")] == ["a.png"]
    assert [o.path for o in storage.list_objects(f"{root}/scans/")] == ["a.png"]


def test_listing_a_single_object_gives_its_name(root: str) -> None:
    """A URI of one object lists that object, by its name."""
    storage.publish(f"{root}/scans/a.png", b"x")
    assert [o.path for o in storage.list_objects(f"{root}/scans/a.png")] == ["a.png"]


def test_version_changes_with_the_content_only(root: str) -> None:
    """The version of an object stays while nobody writes, and changes when it is replaced, even by as many bytes."""
    storage.publish(f"{root}/a.png", b"1")
    first = storage.list_objects(root)
    assert storage.list_objects(root) == first
    time.sleep(0.02)  # a file system's clock ticks every few milliseconds
    storage.publish(f"{root}/a.png", b"2")
    second = storage.list_objects(root)
    assert second[0].version != first[0].version
    assert storage.fingerprint(second) != storage.fingerprint(first)


def test_exists_knows_objects_and_prefixes(root: str) -> None:
    """An object exists, so does a prefix with objects; anything else does not."""
    storage.publish(f"{root}/a/b.png", b"x")
    assert storage.exists(f"{root}/a/b.png")
    assert storage.exists(f"{root}/a")
    assert not storage.exists(f"{root}/a/c.png")
    assert not storage.exists(f"{root}/b")


@pytest.mark.parametrize(
    ("verb", "action"),
    [
        ("list", storage.list_objects),
        ("read", storage.read_bytes),
        ("read", lambda uri: storage.read_all([uri])),
        ("read", lambda uri: storage.read_all([uri, uri])),
    ],
)
def test_missing_objects_give_a_storage_error(root: str, verb: str, action: Callable[[str], object]) -> None:
    """Listing or reading what is not there gives a StorageError that names the URI."""
    uri = f"{root}/nothing"
    with pytest.raises(StorageError) as caught:
        action(uri)
    assert uri in str(caught.value)
    assert ("exist" in str(caught.value)) or verb in str(caught.value)


def test_read_all_keeps_the_order_asked_for(root: str) -> None:
    """Contents come back in the order of the URIs, a URI asked for twice twice, and none for none."""
    for name in ("a", "b", "c"):
        storage.publish(f"{root}/{name}", name.encode())
    assert storage.read_all([f"{root}/{name}" for name in ("c", "a", "b", "a")]) == [b"c", b"a", b"b", b"a"]
    assert storage.read_all([f"{root}/b"]) == [b"b"]
    assert storage.read_all([]) == []


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="storage.read_all names the first URI, not the missing")
def test_read_all_names_the_missing_object(root: str) -> None:
    """When one of many objects is missing, the error names that one."""
    storage.publish(f"{root}/here", b"x")
    with pytest.raises(StorageError, match="gone"):
        storage.read_all([f"{root}/here", f"{root}/gone"])


AWKWARD_NAMES = (
    "two words.png",
    "a#1.png",
    "what?.png",
    "50%.png",
    "Größe.png",
    "12:30.png",
    "[1].png",
    "a*.png",
    "{}",
)


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_a_name_is_only_a_name(root: str, name: str) -> None:
    """Characters that mean something to a shell, a URL or a pattern mean nothing in the name of an object."""
    storage.publish(f"{root}/{name}", b"content")
    [found] = storage.list_objects(root)
    assert found.path == name
    assert storage.read_bytes(found.uri) == b"content"
    assert storage.exists(found.uri)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.xfail(strict=True, raises=StorageError, reason="storage.read_all takes [ ] for a pattern")
            if name == "[1].png"
            else (),
        )
        for name in AWKWARD_NAMES
    ],
)
def test_read_all_takes_names_literally(root: str, name: str) -> None:
    """Many objects are read by name as one is: no name is a pattern."""
    storage.publish(f"{root}/{name}", b"content")
    storage.publish(f"{root}/other.png", b"other")
    assert storage.read_all([f"{root}/{name}", f"{root}/other.png"]) == [b"content", b"other"]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="storage._resolve takes :: for a chain of file systems")
def test_two_colons_in_a_name_do_not_reach_another_object(root: str) -> None:
    """Publishing `a::b` writes that object, and leaves `a` as it was."""
    storage.publish(f"{root}/a", b"kept")
    storage.publish(f"{root}/a::b", b"new")
    assert storage.read_bytes(f"{root}/a") == b"kept"


def test_remove_tree_removes_what_is_below_and_nothing_else(root: str) -> None:
    """A prefix goes with all below it, hidden or not; its neighbours stay."""
    for path in ("slices/a/b", "slices/.c", "slices-old/a", "slice"):
        storage.publish(f"{root}/{path}", b"x")
    storage.remove_tree(f"{root}/slices")
    assert not storage.exists(f"{root}/slices")
    assert _everything_below(root) == ["slice", "slices-old/a"]


def test_remove_tree_on_nothing_is_fine(root: str) -> None:
    """Removing what is not there does nothing, before and after something was."""
    storage.remove_tree(f"{root}/nothing")
    storage.publish(f"{root}/something/a", b"x")
    storage.remove_tree(f"{root}/something")
    storage.remove_tree(f"{root}/something")
    assert not storage.exists(f"{root}/something")


def test_arrow_sees_the_same_storage(root: str) -> None:
    """What pyarrow writes through the file system it is handed is read back here, and the other way round."""
    storage.publish(f"{root}/ours", b"from here")
    fs, path = storage.arrow_filesystem(root)
    with fs.open_output_stream(f"{path}/theirs") as stream:
        stream.write(b"from arrow")
    assert storage.read_bytes(f"{root}/theirs") == b"from arrow"
    with fs.open_input_stream(f"{path}/ours") as stream:
        assert stream.read() == b"from here"


# ---- addresses -----------------------------------------------------------------------------------------------------


def test_join_puts_one_slash_between_parts() -> None:
    """A trailing slash of the prefix is not doubled, and no part is dropped."""
    assert storage.join("gs://bucket/a", "b", "c.png") == "gs://bucket/a/b/c.png"
    assert storage.join("gs://bucket/a/", "b") == "gs://bucket/a/b"
    assert storage.join("/", "a") == "/a"


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="storage.join strips the slashes of the scheme")
def test_join_keeps_the_scheme_of_a_bare_root() -> None:
    """Joining below the root of a store stays in that store."""
    assert storage.absolute(storage.join("memory://", "a")) == storage.absolute("memory://a")


@pytest.mark.parametrize(
    ("uri", "is_relative"),
    [
        ("data", True),
        ("./data", True),
        ("../data", True),
        (".", True),
        ("/data", False),
        ("gs://bucket/data", False),
        ("memory://data", False),
        ("file:///data", False),
        pytest.param(
            "file://data",
            True,
            marks=pytest.mark.xfail(
                strict=True, raises=AssertionError, reason="storage.is_relative believes any scheme, file://data too"
            ),
        ),
    ],
)
def test_relative_paths_are_told_from_absolute_ones(
    uri: str, is_relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URI is relative exactly when what it means changes with the working folder."""
    meanings = set()
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        meanings.add(storage.absolute(uri))
    assert (len(meanings) > 1) is is_relative
    assert storage.is_relative(uri) is is_relative


def test_absolute_uris_have_a_scheme_and_no_detours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local path becomes a file URI without dots; a URI of a store keeps its scheme; twice is once."""
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("a/../b/./c") == f"file://{tmp_path}/b/c"
    assert storage.absolute("/data/") == "file:///data"
    assert storage.absolute("gs://bucket/a") == "gs://bucket/a"
    assert storage.absolute(storage.absolute("memory://a/b")) == storage.absolute("memory://a/b")


@pytest.mark.parametrize("uri", ["nosuchstore://bucket/a", "abfs://container/a"])
def test_a_store_that_cannot_be_opened_is_a_config_error(uri: str) -> None:
    """An unknown scheme, or one whose package is not installed, is refused with the URI in the sentence."""
    try:
        fsspec.get_filesystem_class(uri.split("://", maxsplit=1)[0])
    except (ValueError, ImportError):
        with pytest.raises(ConfigError, match=uri):
            storage.absolute(uri)
    else:
        pytest.skip(f"the package for {uri} is installed here")


# ---- versions and times as stores tell them ------------------------------------------------------------------------

_NOON = datetime(2024, 5, 6, 12, 0, tzinfo=UTC)
_NOON_S = 1714996800.0  # date -d 2024-05-06T12:00:00Z +%s


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"etag": "CJ+x", "generation": "17", "size": 3}, "CJ+x"),  # gcsfs
        ({"generation": "17", "size": 3}, "17"),
        ({"ETag": '"9e107d9d"', "size": 3}, "9e107d9d"),  # s3fs quotes
        ({"ETag": "", "size": 3, "created": 1.5}, "3:1.5"),
        ({"size": 3, "mtime": 2.5}, "3:2.5"),
    ],
)
def test_version_prefers_what_the_store_declares(info: dict[str, object], version: str) -> None:
    """The etag, else the generation, else size and time; without the quotes some stores put around it."""
    assert storage._version(info) == version


@pytest.mark.parametrize(
    ("info", "modified_s"),
    [
        ({"mtime": _NOON}, _NOON_S),  # gcsfs
        ({"LastModified": _NOON}, _NOON_S),  # s3fs
        ({"updated": "2024-05-06T12:00:00.000Z"}, _NOON_S),  # as GCS words it
        ({"created": _NOON_S}, _NOON_S),  # memory
        ({"mtime": _NOON_S, "created": 1.0}, _NOON_S),  # local: the content's time, not the name's
        ({"LastModified": ""}, None),
        ({}, None),
    ],
)
def test_time_of_change_is_read_in_every_wording(info: dict[str, object], modified_s: float | None) -> None:
    """Times come as datetime, text or seconds, and are seconds since the epoch; unknown is None."""
    assert storage._modified_s(info) == modified_s


def test_fingerprint_is_the_digest_of_sorted_uris_and_versions() -> None:
    """The fingerprint is the sha256 over sorted lines of URI, (empty) member and version, in whatever order listed."""
    a = storage.StoredObject("gs://b/a.png", "a.png", 1, "v1", None)
    b = storage.StoredObject("gs://b/b.png", "b.png", 2, "v2", 7.0)
    expected = hashlib.sha256(b"gs://b/a.png\t\tv1\ngs://b/b.png\t\tv2").hexdigest()
    assert storage.fingerprint([a, b]) == expected
    assert storage.fingerprint([b, a]) == expected


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


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="storage.list_objects drops symbolic links silently")
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
    with pytest.raises(StorageError, match="Could not write"), _full_disk():
        storage.publish(str(target), b"new" * 1000)
    assert target.read_bytes() == b"old"
    assert _everything_below(str(tmp_path)) == ["weights.h5"]


def test_a_create_the_disk_refuses_leaves_nothing(tmp_path: Path) -> None:
    """When the disk is full a create-only write leaves neither object nor part, and may be tried again."""
    target = str(tmp_path / "entry.json")
    with pytest.raises(StorageError, match="Could not create"), _full_disk():
        storage.create(target, b"new" * 1000)
    assert _everything_below(str(tmp_path)) == []
    assert storage.create(target, b"new" * 1000)


def test_publishing_over_a_folder_is_refused_and_keeps_it(tmp_path: Path) -> None:
    """A folder in the place of an object gives a StorageError, and what it holds stays."""
    storage.publish(f"{tmp_path}/taken/a", b"kept")
    with pytest.raises(StorageError, match="Could not write"):
        storage.publish(f"{tmp_path}/taken", b"new")
    assert storage.read_bytes(f"{tmp_path}/taken/a") == b"kept"


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="storage.publish keeps the part file if the rename fails")
def test_a_rename_that_fails_leaves_no_part_file(tmp_path: Path) -> None:
    """A publish that fails at its last step cleans up as one that fails at its first."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError):
        storage.publish(f"{tmp_path}/taken", b"new")
    assert _everything_below(str(tmp_path)) == []


@pytest.mark.xfail(
    strict=True, raises=(FileExistsError, pytest.fail.Exception), reason="a file as parent is taken for 'already there'"
)
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
            with pytest.raises(StorageError, match="no permission"):
                action(str(target))
    target.parent.chmod(0o755)
    target.chmod(0o644)
    assert target.read_bytes() == b"old"
    assert _everything_below(str(tmp_path)) == ["folder/a"]


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
    assert _everything_below(str(tmp_path)) == ["lock"]


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


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="storage.remove_tree takes a prefix for a pattern")
def test_remove_tree_takes_its_prefix_literally() -> None:
    """On an object store a star in the prefix matches a star, nothing else."""
    folder = f"memory://remove-{time.time_ns()}"
    storage.publish(f"{folder}/run1/a", b"kept")
    storage.publish(f"{folder}/run*/a", b"x")
    storage.remove_tree(f"{folder}/run*")
    assert _everything_below(folder) == ["run1/a"]
